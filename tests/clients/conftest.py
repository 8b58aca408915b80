"""Two servers behind the running balancer, and a browser that follows the links of a join."""
import http.client, os, subprocess
from urllib.parse import urlsplit

import pytest
from fakebbb import FakeBBB, el, failed, ok

BALANCER = os.environ["BALANCER"]


class Server(FakeBBB):
    """A server that also knows chats and hooks."""

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.chats, self.hooks = [], {}

    def api_sendChatMessage(self, p, body, method):
        if p.get("meetingID") not in self.meetings:
            return failed("notFound", "no such meeting")
        self.chats.append((p["meetingID"], p.get("message"), p.get("userName")))
        return ok("")

    def hook(self, number, url):
        return el("hookID", number) + el("callbackURL", url) + el("permanentHook", "false") + el("rawData", "false")

    def dispatch(self, call, params, body, method):
        if call == "hooks/create":
            number = self.hooks.setdefault(params["callbackURL"], len(self.hooks) + 1)
            return ok(self.hook(number, params["callbackURL"]))
        if call == "hooks/list":
            listed = ("<hook>" + self.hook(number, url) + "</hook>" for url, number in self.hooks.items())
            return ok("<hooks>" + "".join(listed) + "</hooks>")
        if call == "hooks/destroy":
            self.hooks = {url: n for url, n in self.hooks.items() if str(n) != params.get("hookID")}
            return ok(el("removed", "true"))
        return super().dispatch(call, params, body, method)


def run(*command, ok=True, env=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, env=env)
    assert (done.returncode == 0) == ok, (command[1:], done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def on(fakes, meeting):
    return [n for n, fake in enumerate(fakes) if meeting in fake.meetings]


def browse(url):
    """What a browser gets: the addresses it is led to, and the last status."""
    seen = []
    for _ in range(4):
        at = urlsplit(url)
        seen.append((at.port, at.path))
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=20)
        connection.request("GET", at.path + ("?" + at.query if at.query else ""))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        url = answer.getheader("Location")
        if answer.status != 302:
            return seen, answer.status
    raise AssertionError(("led around in a circle", seen))


@pytest.fixture(scope="session")
def servers():
    fakes = [Server("secret-%d" % n, name="bbb%d" % n) for n in range(2)]
    for fake in fakes:
        out = run(BALANCER, "servers", "add", fake.base, fake.secret, "--enable")
        assert out.startswith("OK\nid: "), out
    run(BALANCER, "poll")
    yield fakes
    for fake in fakes:
        fake.close()
