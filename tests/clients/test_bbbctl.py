"""PyPI's bbbctl drives a running balancer as its users do."""
import os, subprocess, sys, uuid
from pathlib import Path

import pytest
from fakebbb import FakeBBB

API = os.environ["LB_URL"]
SECRET = os.environ["LB_SECRET"]
BALANCER = os.environ["BALANCER"]
BBBCTL = str(Path(sys.executable).parent / "bbbctl")


def run(*command, ok=True):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode == 0) == ok, (command[1:], done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def bbbctl(*args, ok=True):
    return run(BBBCTL, "--server", API, "--secret", SECRET, *args, ok=ok)


@pytest.fixture(scope="module")
def servers():
    fakes = [FakeBBB("secret-%d" % n, name="bbb%d" % n) for n in range(2)]
    for fake in fakes:
        out = run(BALANCER, "servers", "add", fake.base, fake.secret, "--enable")
        assert out.startswith("OK\nid: "), out
    run(BALANCER, "poll")
    yield fakes
    for fake in fakes:
        fake.close()


def on(fakes, meeting):
    return [n for n, fake in enumerate(fakes) if meeting in fake.meetings]


def test_create_list_info_end(servers):
    meetings = ["ctl-" + uuid.uuid4().hex[:8] for _ in range(4)]
    for meeting in meetings:
        bbbctl("meeting", "create", meeting, "Lesson " + meeting)
    homes = [on(servers, meeting) for meeting in meetings]
    assert all(len(home) == 1 for home in homes)
    assert sorted(home[0] for home in homes) == [0, 0, 1, 1], "four meetings are spread over two servers"
    listed = bbbctl("meeting", "list")
    assert all(meeting in listed for meeting in meetings)
    info = bbbctl("meeting", "info", meetings[0])
    assert meetings[0] in info
    bbbctl("meeting", "end", meetings[0])
    assert on(servers, meetings[0]) == []
    assert meetings[0] not in bbbctl("meeting", "list")
    bbbctl("meeting", "info", meetings[0], ok=False)


def test_a_repeated_create_stays_where_it_is(servers):
    meeting = "ctl-" + uuid.uuid4().hex[:8]
    bbbctl("meeting", "create", meeting, "Lesson " + meeting)
    home = on(servers, meeting)
    bbbctl("meeting", "create", meeting, "Lesson " + meeting)
    assert on(servers, meeting) == home and len(home) == 1


def test_a_wrong_secret_is_refused(servers):
    out = run(BBBCTL, "--server", API, "--secret", "wrong", "meeting", "list", ok=False)
    assert "checksum" in out.lower()
