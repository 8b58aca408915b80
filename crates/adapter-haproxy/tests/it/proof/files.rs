//! Bad files, and disks that are full, while people are in their rooms.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use adapter_haproxy::reconcile::{ReloadError, ReloadGate};

use crate::reconcile::crowd::{Crowd, homes, moved, rooms};
use crate::reconcile::farm::Farm;
use crate::runtime::live::binaries;

const ALL: [usize; 3] = [1, 2, 3];
const END: &str = "# end";
const ROOMS: usize = 100;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Loads a good file, and then has this tried; whatever becomes of it, rooms stay and requests are answered. Answers how
/// many bad files were tried.
async fn under_load<F>(farm: &Farm, gate: &ReloadGate, bad: F) -> usize
where
    F: AsyncFnOnce(&str) -> usize,
{
    let (port, rooms) = (farm.place.port, rooms(ROOMS));
    let before = homes(port, rooms.iter());
    let good = format!("{}{END}\n", farm.text(&ALL));
    gate.reload(&good).await.unwrap_or_else(|e| panic!("{e}"));
    let crowd = Crowd::come(port, &rooms);
    crowd.wait(50);
    let worker = async || farm.master().processes().await.unwrap().worker().unwrap().pid;
    let before_bad = worker().await;
    let tried = bad(&good).await;
    crowd.wait(50);
    let met = crowd.go();
    let elsewhere = moved(&before, &homes(port, rooms.iter().rev()));
    println!(
        "{}: {tried} bad files under {} requests: {} replaced the good one, {} requests failed, {elsewhere} rooms moved",
        farm.version,
        met.asked,
        usize::from(read(&gate.good_file()) != good) + usize::from(read(&farm.file()) != good),
        met.failed,
    );
    assert_eq!((read(&farm.file()), read(&gate.good_file())), (good.clone(), good));
    assert_eq!((met.failed, met.split(), elsewhere), (0, 0, 0));
    assert_eq!(worker().await, before_bad);
    tried
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_off_never_replaces_a_good_one() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 3, 3);
        let whole = farm.gate().with_last_line(END);
        let tried = under_load(&farm, &whole, async |good| {
            let mut tried = 0;
            // HAProxy itself refuses what ends in the midst of a line, and not all of what ends with one.
            let inside: Vec<usize> = (1..good.len()).filter(|at| good.as_bytes()[at - 1] != b'\n').collect();
            for at in inside.iter().step_by(inside.len() / 20) {
                let error = farm.gate().reload(&good[..*at]).await.unwrap_err();
                assert!(matches!(error, ReloadError::Invalid { .. }), "{at}: {error}");
                tried += 1;
            }
            for (at, _) in good.match_indices('\n').take(good.lines().count() - 1) {
                let error = whole.reload(&good[..=at]).await.unwrap_err();
                assert!(matches!(error, ReloadError::CutOff { .. }), "{at}: {error}");
                tried += 1;
            }
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let clash = format!("{good}frontend clash\n bind {}\n{END}\n", taken.local_addr().unwrap());
            let error = whole.reload(&clash).await.unwrap_err();
            assert!(matches!(error, ReloadError::Taken { .. }), "{error}");
            for bad in ["", "\n", "\0", "global\n nonsense\n", &format!("{good}backend rooms\n{END}\n")] {
                assert!(whole.reload(bad).await.is_err(), "{bad:?}");
                tried += 1;
            }
            tried
        });
        assert!(tried.await > 80);
    }
}

/// A disk of its own, of few bytes.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where we may not mount one.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&at).output();
        done.is_ok_and(|out| out.status.success()).then_some(Self(at))
    }

    /// Fills it but for so many pages.
    fn fill(&self, pages: usize) {
        let path = self.0.join("filler");
        let mut filler = std::fs::File::create(&path).unwrap();
        let mut size = 0;
        while filler.write_all(&[b'x'; 4096]).is_ok() {
            size += 4096;
        }
        filler.set_len(size - 4096 * pages as u64).unwrap();
    }

    /// Moves a file there, and leaves a link.
    fn take(&self, file: &Path) {
        let here = self.0.join(file.file_name().unwrap());
        std::fs::copy(file, &here).unwrap();
        std::fs::remove_file(file).unwrap();
        std::os::unix::fs::symlink(here, file).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_never_costs_the_good_file() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 3, 3);
        let Some(disk) = SmallDisk::mount(farm.place.folder.join("small")) else {
            println!("skipped: no disk can be mounted here");
            return;
        };
        std::fs::write(farm.state_file(), "").unwrap();
        for file in [farm.file(), farm.state_file(), farm.pins_file().into()] {
            disk.take(&file);
        }
        let gate = farm.gate();
        under_load(&farm, &gate, async |good| {
            let (mut full, mut refused) = (0, 0);
            // A socket that cannot be made passes the check: the file of before has to come back.
            let clash = format!("{good}frontend clash\n bind unix@/nonexistent/socket\n");
            for pages in 0..12 {
                disk.fill(pages);
                match gate.reload(&clash).await.unwrap_err() {
                    ReloadError::File(error) => {
                        assert!(error.to_string().contains("No space"), "{error}");
                        full += 1;
                    }
                    ReloadError::Refused { .. } => refused += 1,
                    error => panic!("{error}"),
                }
                assert_eq!(read(&farm.file()), good, "{pages} pages");
                let left: Vec<_> = std::fs::read_dir(&disk.0).unwrap().map(|e| e.unwrap().file_name()).collect();
                assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
            }
            assert!(full > 1 && refused > 0, "{full} times full, {refused} times refused");
            full + refused
        })
        .await;
    }
}
