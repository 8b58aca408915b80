"""PyPI's bbbctl drives a running balancer as its users do."""
import json, os, re, sys, uuid
from pathlib import Path

from conftest import browse, on, run

API = os.environ["LB_URL"]
SECRET = os.environ["LB_SECRET"]
BBBCTL = str(Path(sys.executable).parent / "bbbctl")


def bbbctl(*args, ok=True):
    return run(BBBCTL, "--server", API, "--secret", SECRET, *args, ok=ok)


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
    for meeting in meetings:
        bbbctl("meeting", "end", meeting)
        assert on(servers, meeting) == []
    assert meetings[0] not in bbbctl("meeting", "list")
    bbbctl("meeting", "info", meetings[0], ok=False)


def test_a_whole_lesson(servers):
    meeting = "ctl-" + uuid.uuid4().hex[:8]
    bbbctl("meeting", "create", meeting, "Größen & Maße", "--meta", "course=Mathe 7b", "--welcome", "Hallo <b>alle</b>")
    (home,) = on(servers, meeting)
    server = servers[home]
    kept = server.meetings[meeting].params
    assert (kept["name"], kept["meta_course"], kept["welcome"]) == ("Größen & Maße", "Mathe 7b", "Hallo <b>alle</b>")
    # Everybody gets a link, and every link leads to the same server.
    for name, more in [("Frau Lehmann", ["--mod"])] + [("Kind %d" % n, []) for n in range(3)]:
        (link,) = re.findall(r"http://\S+", bbbctl("meeting", "join", meeting, name, *more))
        assert link.startswith(API + "/join?"), link
        seen, status = browse(link)
        assert status == 200 and [port for port, _ in seen[1:]] == [server.port] * 2, seen
    assert (server.meetings[meeting].participants, server.meetings[meeting].moderators) == (4, 1)
    info = json.loads(bbbctl("--format", "json", "meeting", "info", meeting))
    assert "Frau Lehmann" in json.dumps(info, ensure_ascii=False) and "Mathe 7b" in json.dumps(info), info
    bbbctl("meeting", "chat", meeting, "Noch fünf Minuten", "--name", "Pausenglocke")
    assert server.chats[-1] == (meeting, "Noch fünf Minuten", "Pausenglocke")
    assert meeting not in bbbctl("record", "list")
    bbbctl("meeting", "end", meeting)
    assert on(servers, meeting) == []
    assert meeting not in bbbctl("meeting", "list")


def test_a_signed_link_is_accepted(servers):
    link = bbbctl("sign", "isMeetingRunning", "meetingID=nobody knows").split()[-1]
    assert browse(link)[1] == 200


def test_a_repeated_create_stays_where_it_is(servers):
    meeting = "ctl-" + uuid.uuid4().hex[:8]
    bbbctl("meeting", "create", meeting, "Lesson " + meeting)
    home = on(servers, meeting)
    bbbctl("meeting", "create", meeting, "Lesson " + meeting)
    assert on(servers, meeting) == home and len(home) == 1


def test_a_wrong_secret_is_refused(servers):
    out = run(BBBCTL, "--server", API, "--secret", "wrong", "meeting", "list", ok=False)
    assert "checksum" in out.lower()
