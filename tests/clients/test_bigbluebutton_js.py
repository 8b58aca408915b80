"""npm's bigbluebutton-js drives a running balancer as the programs built on it do."""
import json, os, uuid
from pathlib import Path

from conftest import browse, on, run

API = os.environ["LB_URL"]
SECRET = os.environ["LB_SECRET"]
SCRIPT = Path(__file__).parent / "node" / "call.js"


def js(group, call, *args, secret=SECRET):
    # The library adds `/api` itself.
    command = ["node", SCRIPT, API.removesuffix("/api"), secret, group, call]
    return json.loads(run(*command, *(json.dumps(argument) for argument in args)))


def test_a_whole_lesson(servers):
    meeting = "js-" + uuid.uuid4().hex[:8]
    passwords = {"attendeePW": "kind", "moderatorPW": "lehrer"}
    asked = [meeting, {**passwords, "meta_course": "Übung 3+4", "welcome": "a & b"}]
    made = js("administration", "create", "Bruch & Rechnen", *asked)
    assert made["returncode"] == "SUCCESS" and made["meetingID"] == meeting, made
    (home,) = on(servers, meeting)
    server = servers[home]
    kept = server.meetings[meeting].params
    assert (kept["name"], kept["meta_course"], kept["welcome"]) == ("Bruch & Rechnen", "Übung 3+4", "a & b")
    # A second teacher creates it again: it is the same.
    again = js("administration", "create", "Bruch & Rechnen", *asked)
    assert (again["messageKey"], again["internalMeetingID"]) == ("duplicateWarning", made["internalMeetingID"])
    assert js("monitoring", "isMeetingRunning", meeting)["running"] in (False, "false")

    for name, password in [("Lehrerin", "lehrer"), ("Käthe", "kind"), ("Jörg + Co", "kind")]:
        link = js("administration", "join", name, meeting, password)
        seen, status = browse(link)
        assert status == 200 and [port for port, _ in seen[1:]] == [server.port] * 2, seen
    assert [name for _, name, _ in server.meetings[meeting].joined] == ["Lehrerin", "Käthe", "Jörg + Co"]

    assert js("monitoring", "isMeetingRunning", meeting)["running"] in (True, "true")
    info = js("monitoring", "getMeetingInfo", meeting)
    assert (info["participantCount"], info["moderatorCount"], info["metadata"]["course"]) == (3, 1, "Übung 3+4"), info
    listed = js("monitoring", "getMeetings")["meetings"]
    assert [m["participantCount"] for m in listed if m["meetingID"] == meeting] == [3], listed
    assert js("recording", "getRecordings", {})["returncode"] == "SUCCESS"

    over = js("administration", "end", meeting, "lehrer")
    assert over["messageKey"] == "sentEndMeetingRequest", over
    assert on(servers, meeting) == []
    assert js("monitoring", "getMeetingInfo", meeting)["messageKey"] == "notFound"


def test_hooks_reach_every_server(servers):
    url = "https://93.184.216.34/events?x=" + uuid.uuid4().hex[:8]
    made = js("hooks", "create", url, {})
    assert made["returncode"] == "SUCCESS", made
    listed = js("hooks", "list", {})
    assert url in json.dumps(listed), listed
    assert all(url in server.hooks for server in servers)
    assert js("hooks", "destroy", made["hookID"], {})["returncode"] == "SUCCESS"
    assert not any(url in server.hooks for server in servers)


def test_a_wrong_secret_is_refused(servers):
    assert js("monitoring", "getMeetings", secret="wrong")["messageKey"] == "checksumError"
