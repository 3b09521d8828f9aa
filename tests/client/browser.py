"""Drives a headless Chromium over --remote-debugging-pipe: no packages beyond the standard library.

    with Browser(width=1280, height=900, dark=False) as b:
        b.open("http://127.0.0.1:8080/");  b.wait("document.querySelector('input')");  b.type("text");  b.key("Enter")
        b.screenshot("page.png");  b.evaluate("document.title")
"""
import base64, json, os, shutil, subprocess, tempfile, time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    def __init__(self, width=1280, height=900, dark=False, mobile=False):
        self.size, self.dark, self.mobile, self.next, self.events = (width, height), dark, mobile, 0, []

    def __enter__(self):
        self.profile = tempfile.mkdtemp(prefix="vitae-browser-")
        read_theirs, write_ours = os.pipe()
        read_ours, write_theirs = os.pipe()
        # Chromium reads commands on descriptor 3 and answers on 4
        high = [os.dup2(f, 50 + i, inheritable=False) for i, f in enumerate((read_theirs, write_theirs, write_ours, read_ours))]
        for f in (read_theirs, write_theirs, write_ours, read_ours):
            os.close(f)
        self.to, self.of = os.fdopen(high[2], "wb", buffering=0), os.fdopen(high[3], "rb", buffering=0)

        def place():
            os.dup2(50, 3), os.dup2(51, 4)

        self.process = subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={self.profile}", f"--window-size={self.size[0]},{self.size[1]}", "about:blank"],
            pass_fds=(3, 4), preexec_fn=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(high[0]), os.close(high[1])
        self.buffer = b""
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.page(f"{domain}.enable")
        self.page("Emulation.setDeviceMetricsOverride", width=self.size[0], height=self.size[1], deviceScaleFactor=1, mobile=self.mobile)
        self.page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}])
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.to.close(), self.of.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, session=None, **params):
        self.next += 1
        message = {"id": self.next, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self.to.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                more = self.of.read(1 << 16)
                if not more:
                    raise RuntimeError("the browser ended")
                self.buffer += more
            text, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self.next:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def page(self, method, **params):
        return self.call(method, session=self.session, **params)

    def open(self, url):
        self.page("Page.navigate", url=url)

    def evaluate(self, expression):
        r = self.page("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in r:
            raise RuntimeError(r["exceptionDetails"].get("text", "exception"))
        return r["result"].get("value")

    def wait(self, expression, seconds=600):
        until = time.monotonic() + seconds
        while True:
            try:
                if self.evaluate(f"!!({expression})"):
                    return
            except RuntimeError:
                pass
            if time.monotonic() > until:
                raise TimeoutError(expression)
            time.sleep(0.1)

    def type(self, text):
        self.page("Input.insertText", text=text)

    def key(self, key, shift=False):
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Home": 36, "End": 35}
        extra = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        common = dict(key=key, code=key, windowsVirtualKeyCode=codes.get(key, ord(key[0]) if len(key) == 1 else 0), modifiers=8 if shift else 0)
        self.page("Input.dispatchKeyEvent", type="keyDown", **common, **extra)
        self.page("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path, full=True):
        png = self.page("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(png))

    def complaints(self):
        """Errors of scripts and refusals of the security policy."""
        out = []
        for e in self.events:
            if e["method"] == "Runtime.exceptionThrown":
                out.append(e["params"]["exceptionDetails"].get("text", "exception"))
            if e["method"] == "Log.entryAdded" and e["params"]["entry"]["level"] == "error":
                out.append(e["params"]["entry"]["text"])
        return out
