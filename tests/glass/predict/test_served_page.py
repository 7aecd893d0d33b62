"""The page that ``scripts.demo`` serves, and its mistakes."""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from scripts import demo, predict
from shards.errors import InputError
from tests.machine.loopback import counting


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Variables that the command sets for the rest of its process, with what a user may have set."""
    values = {"NO_PROXY": "example.org", "no_proxy": "example.org", "GRADIO_RUN_HISTORY": "1"}
    for name, value in (values | {"GRADIO_ANALYTICS_ENABLED": "True"}).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def served(run, tmp_path):
    """The process of ``glass demo``, which runs in its own process because Gradio issues warnings and opens sockets.
    There, Gradio's library for fetching is made to treat local addresses as public ones. The environment names a proxy
    that does not exist, since the page must not need one."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs the extra demo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text("import safehttpx\nsafehttpx.is_public_ip = lambda _: True\n")
    paths = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "scripts.demo", str(run), "--port", str(port)]
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    environment = os.environ | proxies | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def served_page(served):
    """The address at which ``glass demo`` serves its page."""
    return re.findall(r"http://127\.0\.0\.1:\d+", served.stdout.readline())[0]


@pytest.mark.slow
def test_the_page_is_served_and_listens_here_only(served_page):
    with urllib.request.urlopen(f"{served_page}/", timeout=60) as answer:
        assert b"Is this image generated?" in answer.read()
    # Gradio's history of runs, in the browser or in a bucket on the hub, is off.
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{served_page}/gradio_api/runs", timeout=60)


@pytest.mark.slow
def test_the_page_fetches_no_address_that_a_caller_gives(served_page):
    """Gradio would fetch both addresses if the page did not prevent it."""
    with counting(200) as (address, asked):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{served_page}/gradio_api/file={address}/passed_on.jpg", timeout=60)
        call = f"{served_page}/gradio_api/call/predict"
        file = {"path": f"{address}/file.jpg", "meta": {"_type": "gradio.FileData"}}
        request = urllib.request.Request(
            call, json.dumps({"data": [file]}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            event = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{call}/{event}", timeout=60) as answer:
            assert answer.read().startswith(b"event: error")
    assert asked == []


@pytest.mark.slow
def test_uploads_do_not_outlive_the_terminal(served_page, served, paths, tmp_path):
    boundary = b"--x\r\nContent-Disposition: form-data; name=files; filename=a.jpg\r\n\r\n"
    body = boundary + Path(paths[0]).read_bytes() + b"\r\n--x--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{served_page}/gradio_api/upload", body, kind)
    with urllib.request.urlopen(request, timeout=60) as answer:
        (stored,) = json.load(answer)
    assert Path(stored).is_relative_to(tmp_path)
    served.send_signal(signal.SIGHUP)
    served.wait(timeout=60)
    assert not [*tmp_path.glob("glass-demo-*")]


@pytest.mark.slow
def test_programs_ask_the_page_as_the_docs_say(served_page, run, paths, tmp_path):
    """The document is the same as that of ``glass predict --json``, even for a file that cannot be read."""
    text = (Path(__file__).parents[3] / "docs/predict.md").read_text("utf-8")
    (call,) = re.findall(r"```python\n(import json\nfrom gradio_client.*?)```", text, re.DOTALL)
    patient = f'"{served_page}", httpx_kwargs={{"timeout": 300}}'  # 5 s by itself, and shared machines stand still
    call = call.replace('"http://127.0.0.1:7860"', patient).replace('"photo.jpg"', "sys.argv[1]")
    call = f"import sys\n{call}\nprint(json.dumps(document))"
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    for path in (paths[0], str(tmp_path / "broken.jpg")):
        done = subprocess.run([sys.executable, "-c", call, path], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        out = tmp_path / "out.json"
        predict.main([str(run), path, "--json", str(out), "--threads", "1"])
        expected = json.loads(out.read_text())
        out.unlink()
        expected["model"]["path"] = run.name
        expected["images"][0]["path"] = Path(path).name
        assert json.loads(done.stdout.splitlines()[-1]) == expected
    listed = (
        f"from gradio_client import Client\nprint(*Client({patient}).view_api(return_format='dict')['named_endpoints'])"
    )
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "/predict"


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_gradio_gets_no_proxy_no_history_and_addresses_as_it_wants_them(host, shown, monkeypatch, capsys):
    got = {}

    class Page:
        def launch(self, **options):
            names = ("NO_PROXY", "no_proxy", "GRADIO_RUN_HISTORY")
            got.update(options, **{name: os.environ.get(name) for name in names})

        def close(self, **_):
            pass

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("glass.predict.detector.Detector.from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr("glass.share.demo_page.build_page", lambda *_: Page())
    monkeypatch.setattr(demo.time, "sleep", interrupted)
    heard: list[int] = []
    monkeypatch.setattr(demo.signal, "getsignal", lambda _: signal.SIG_DFL)  # under nohup, SIGHUP would be ignored
    monkeypatch.setattr(demo.signal, "signal", lambda number, _: heard.append(number))
    assert demo.main(["run", "--host", host, "--port", "99"]) == 0
    assert f"open http://{shown}:99 " in capsys.readouterr().out
    assert (got["server_name"], got["NO_PROXY"], got["no_proxy"]) == (shown, "*", "*")
    assert got["GRADIO_RUN_HISTORY"] == "False"
    assert heard == [signal.SIGTERM, signal.SIGHUP]


def test_an_address_of_another_machine_is_reported(monkeypatch):
    class Page:
        def launch(self, **_):
            raise OSError("Cannot find empty port")

    monkeypatch.setattr("glass.predict.detector.Detector.from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr("glass.share.demo_page.build_page", lambda *_: Page())
    with pytest.raises(InputError, match=r"port 99 of 1\.2\.3\.4: give another --port, or"):
        demo.main(["run", "--host", "1.2.3.4", "--port", "99"])
