"""A real nginx in front of a service, as people set it up: kept connections, and the usual map for websockets."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.loop import free_port, listens
from tests.servers.serving import wait_until

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None and os.environ.get("CI") != "true", reason="nginx is not installed"
)

_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 60s;
    keepalive_requests 1000000;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}
    upstream service {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_timeout 60s;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[int]:
    """The port of one before a service on this port, ended with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = folder / "nginx.conf"
    # Its workers must write large bodies into the folder; started by root, they would be somebody else.
    user = "user root root;" if os.geteuid() == 0 else ""
    configuration.write_text(_CONFIGURATION.format(user=user, folder=folder, upstream=upstream, port=port))
    command = ["nginx", "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(configuration)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, (folder / "error.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)
