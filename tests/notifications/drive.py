"""Sends test messages of a real server to third-party receivers, and checks what they say."""

import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from standardwebhooks import Webhook, WebhookVerificationError

EMAIL, PASSWORD = "admin@example.org", "correct horse battery"
ROOT = pathlib.Path(__file__).parents[2]


def says(words):
    print(f"ok: {words}", flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Api:
    def __init__(self, url):
        self.url, self.token = url, None

    def post(self, path, body=None):
        headers = {}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = b""
        if body is not None:
            headers["content-type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def channel(self, kind, settings):
        return self.post("/api/channels", {"name": kind, "kind": kind, "settings": settings})

    def test(self, channel):
        return self.post(f"/api/channels/{channel['id']}/test")


def wait_for(port, process):
    for _ in range(300):
        assert process.poll() is None, "a program has ended"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}")


def check_reference_library(api):
    received = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    channel = api.channel("webhook", {"url": f"http://127.0.0.1:{server.server_port}/hook"})
    assert api.test(channel)["ok"]
    body, headers = received[0]
    webhook = Webhook(channel["settings"]["secret"])
    assert webhook.verify(body, headers)["type"] == "test"
    says("standardwebhooks verifies a message")
    for changed in (body + b" ", body.replace(b"test", b"tesT", 1)):
        try:
            webhook.verify(changed, headers)
        except WebhookVerificationError:
            continue
        raise AssertionError("a changed message was accepted")
    says("standardwebhooks refuses a changed message")


def check_documented_receiver(api, folder):
    page = (ROOT / "docs" / "notifications.md").read_text()
    program = folder / "receiver.py"
    text = page.split("```python\n")[1].split("```")[0]
    assert len(text.splitlines()) == 10
    port = free_port()
    program.write_text(text.replace("9000", str(port)))
    url = f"http://127.0.0.1:{port}/"
    ours, other = api.channel("webhook", {"url": url}), api.channel("webhook", {"url": url})
    environment = {**os.environ, "WEBHOOK_SECRET": ours["settings"]["secret"]}
    receiver = subprocess.Popen([sys.executable, program], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, receiver)
        assert api.test(ours)["status"] == 204
        assert api.test(other)["status"] == 401
    finally:
        receiver.kill()
    says("the receiver in docs/notifications.md accepts its own messages and no others")


class Mailbox:
    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, _session, envelope):
        assert server.transport.get_extra_info("cipher"), "a mail in the clear"
        self.mails.append(envelope)
        return "250 queued"


def authenticate(_server, _session, _envelope, _mechanism, data):
    # Not handled: aiosmtpd sends the answer.
    is_right = (data.login, data.password) == (b"ops", b"hunter22")
    return AuthResult(success=is_right, handled=False)


class StartTls(Controller):
    def factory(self):
        return SMTP(self.handler, **self.SMTP_kwargs)


def check_mail(api, authority):
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    rules = {"authenticator": authenticate, "auth_required": True}
    for security in ("tls", "starttls"):
        mailbox, port = Mailbox(), free_port()
        if security == "tls":
            mail = Controller(mailbox, "127.0.0.1", port, ssl_context=context,
                              auth_require_tls=False, **rules)
        else:
            mail = StartTls(mailbox, "127.0.0.1", port, tls_context=context,
                            require_starttls=True, **rules)
        mail.start()
        settings = {"host": "127.0.0.1", "port": port, "security": security, "username": "ops",
                    "password": "hunter22", "from": "HyprBox <hyprbox@example.org>",
                    "to": ["ann@example.org", "bob@example.org"]}
        tested = api.test(api.channel("email", settings))
        assert tested == {"ok": True, "status": 250, "answer": "queued"}, tested
        envelope = mailbox.mails[0]
        assert envelope.rcpt_tos == ["ann@example.org", "bob@example.org"]
        if security == "tls":
            print(envelope.content.decode())
        wrong = api.test(api.channel("email", {**settings, "password": "wrong"}))
        assert not wrong["ok"] and wrong["status"] == 535, wrong
        mail.stop()
        says(f"aiosmtpd accepts a mail over {security}, and no wrong password")


def main(program):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        port = free_port()
        environment = {
            **os.environ,
            "HYPRBOX_DATA_DIR": str(folder / "data"),
            "HYPRBOX_LISTEN": f"127.0.0.1:{port}",
            "HYPRBOX_ADMIN_EMAIL": EMAIL,
            "HYPRBOX_ADMIN_PASSWORD": PASSWORD,
            "SSL_CERT_FILE": str(folder / "ca.pem"),
        }
        server = subprocess.Popen([program, "serve"], env=environment)
        try:
            wait_for(port, server)
            api = Api(f"http://127.0.0.1:{port}")
            api.token = api.post("/api/auth/login", {"email": EMAIL, "password": PASSWORD})["token"]
            check_reference_library(api)
            check_documented_receiver(api, folder)
            check_mail(api, authority)
        finally:
            server.terminate()
            server.wait()


main(sys.argv[1])
