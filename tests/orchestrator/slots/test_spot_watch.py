"""What ``cluster.yaml`` has spot machines do: the very command, against a server of this machine."""

import os
import signal
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from cluster_file import aws


class Metadata(BaseHTTPRequestHandler):
    """Of a machine whose end is announced at the third question."""

    asked = 0

    def do_PUT(self) -> None:
        self._answer(200, b"a-token")

    def do_GET(self) -> None:
        assert self.path == "/meta-data/spot/instance-action"
        assert self.headers["X-aws-ec2-metadata-token"] == "a-token"
        Metadata.asked += 1
        self._answer(404 if Metadata.asked < 3 else 200, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_an_announced_end_is_told_to_ray_once(tmp_path: Path) -> None:
    ray = tmp_path / "procon-venv/bin/ray"
    ray.parent.mkdir(parents=True)
    ray.write_text(f'#!/bin/sh\necho "$RAY_AUTH_MODE $@" >> {tmp_path}/said\n')
    ray.chmod(0o755)
    command = aws()["worker_start_ray_commands"][-1]
    server = HTTPServer(("127.0.0.1", 0), Metadata)
    Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "METADATA": f"http://127.0.0.1:{server.server_port}",
        "RAY_HEAD_IP": "10.0.0.1",
        "HOME": str(tmp_path),
    }
    quick = command.replace("sleep 5", "sleep 0.1").replace("setsid nohup sh -c", "echo $$; exec sh -c").rstrip("& ")
    process = subprocess.Popen(["bash", "-c", quick], env={**os.environ, **environment}, start_new_session=True)
    try:
        assert process.wait(20) == 0, "it ends once Ray has taken it"
        assert Metadata.asked == 3
        (said,) = (tmp_path / "said").read_text().splitlines()
        assert said == (
            "token drain-node --address=10.0.0.1:6379 --reason=DRAIN_NODE_REASON_PREEMPTION --reason-message=spot "
            "--deadline-remaining-seconds=110"
        )
    finally:
        server.shutdown()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
