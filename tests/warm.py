"""A `python` for tests of the road: `python -m stages.X` is forked from a process that has imported the libraries.

A walk of the road starts some twenty Pythons, and most import for several seconds before they begin. `make run` and
tests of what a restart must not change use the plain one: forked processes share their hash seed.

    python -m tests.warm SOCKET        # serves until it is killed; a line on its output says that it is ready
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.project import ROOT, environment

FORKED = ("stages.", "benchmarks.")  # modules that run so; all else gets the plain Python
# What the shell finds as `python`. Started without site-packages, it answers within a few hundredths of a second.
CLIENT = """#!{python} -IS
import json, os, socket, sys
words = sys.argv[1:]
if len(words) < 2 or words[0] != "-m" or not words[1].startswith({forked}):
    os.execv({python!r}, [{python!r}, *words])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    said = json.dumps([words[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(said).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(said)
    sys.exit(int(server.recv(16) or 70))
"""


def _end_with(client: socket.socket) -> None:
    """End this process when its client is gone: killed, or with dvc."""
    client.recv(1)
    os._exit(1)


def _be(client: socket.socket, words: list[str], folder: str, variables: dict[str, str]) -> int:
    """Run module words[0] as `python -m` does and return its exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[0] = folder
    sys.argv = list(words)
    threading.Thread(target=_end_with, args=(client,), daemon=True).start()
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _answer(client: socket.socket) -> None:
    """In a forked process: become what the client asks for, and tell it the exit status."""
    size, files, _, _ = socket.recv_fds(client, 4, 3)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    with client.makefile("rb") as stream:
        asked = json.loads(stream.read(int.from_bytes(size, "big")))
    status = _be(client, *asked)
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(str(status).encode())
    os._exit(status)


def import_libraries() -> None:
    """Import what takes seconds; nothing of this project, as each folder has its own."""
    # Not OpenVINO or ONNX Runtime, which start threads that a forked process would not have.
    import albumentations  # noqa: F401
    import lightning  # noqa: F401
    import mlflow.pyfunc  # noqa: F401
    import onnxscript  # noqa: F401
    import segmentation_models_pytorch  # noqa: F401


def serve(address: str) -> None:
    """Import the libraries, then fork a process per connection."""
    import_libraries()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # none is waited for
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                _answer(client)
            client.close()


@contextlib.contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """Serve while the context lasts; give a PATH whose first `python` forks. `folder`, empty, is written into."""
    address = str(folder / "socket")
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, forked=FORKED, address=address), encoding="utf-8")
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, "-m", "tests.warm", address]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield f"{folder}{os.pathsep}{environment()['PATH']}"
        finally:
            server.kill()


if __name__ == "__main__":
    serve(sys.argv[1])
