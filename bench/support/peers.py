"""What benchmarks run on and measure against, started and ended with them: nginx, Orthanc, PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from xdsi.certificates import Community
from xdsi.stage import free_ports

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_SECONDS = 30.0
_ORTHANC_PID = "orthanc.pid"


def wait_for(port: int) -> None:
    """Wait until somebody listens on `port`."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def peak_rss_mb(process_id: int) -> float:
    """Most memory that a process held so far."""
    status = Path(f"/proc/{process_id}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def processor_seconds(process_id: int) -> float:
    """For how long a process has run so far, with its threads that have ended; in ticks of 10 ms."""
    told = Path(f"/proc/{process_id}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


_NGINX = """
daemon off; worker_processes 1; error_log {folder}/error.log; pid {folder}/nginx.pid;
{user}
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
  {secure}
}}
"""
# Kept connections and large buffers, and nothing is put on disk: the best that it does by plain means.
_NGINX_PROXY = """
  upstream behind {{ server 127.0.0.1:{behind}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port}{listen};
    client_max_body_size 0; client_body_buffer_size 4m;
    {secure}
    location / {{
      proxy_pass {scheme}://behind; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 512k; proxy_max_temp_file_size 0;
    }}
  }}
"""
_OF_PROXY = """
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
    ssl_client_certificate {trust}; ssl_verify_client on;
    proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {key}; proxy_ssl_protocols TLSv1.3;
    proxy_ssl_trusted_certificate {trust}; proxy_ssl_verify on; proxy_ssl_name localhost;
"""
_NGINX_TLS = """
  server {{
    listen 127.0.0.1:{port} ssl; root {folder};
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
    ssl_client_certificate {trust}; ssl_verify_client on;
  }}
"""


@contextmanager
def nginx(folder: Path, community: Community | None = None) -> Iterator[tuple[int, int]]:
    """nginx that serves `folder` by sendfile: its plain port, and with a community's certificates its port of
    mutual TLS."""
    port, tls_port = free_ports(2)
    secure = ""
    if community is not None:
        secure = _NGINX_TLS.format(
            folder=folder,
            port=tls_port,
            certificate=community.node.certificate,
            key=community.node.key,
            trust=community.trust,
        )
    with _nginx(folder, port=port, secure=secure, waited_for=port):
        yield port, tls_port


@contextmanager
def _nginx(folder: Path, *, port: int, secure: str, waited_for: int) -> Iterator[None]:
    if shutil.which("nginx") is None:
        raise SystemExit("nginx is not installed; apt install nginx-light")
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(folder=folder, port=port, user=user, secure=secure), "ascii")
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL)
    try:
        wait_for(waited_for)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def nginx_before(folder: Path, behind: int, community: Community | None = None) -> Iterator[int]:
    """nginx that passes on (`proxy_pass`) to the local port `behind`; its port. With a community's
    certificates it speaks mutual TLS on both sides."""
    port, unused = free_ports(2)
    scheme, listen, secure = "http", "", ""
    if community is not None:
        node = community.node
        secure = _OF_PROXY.format(certificate=node.certificate, key=node.key, trust=community.trust)
        scheme, listen = "https", " ssl"
    proxy = _NGINX_PROXY.format(port=port, behind=behind, scheme=scheme, listen=listen, secure=secure)
    with _nginx(folder, port=unused, secure=proxy, waited_for=port):
        yield port


def nginx_worker(folder: Path) -> int:
    """The process that does the work of the nginx of `folder`, which listens before it has one."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if master := (folder / "nginx.pid").read_text("ascii").strip():
            workers = Path(f"/proc/{master}/task/{master}/children").read_text("ascii").split()
            if workers:
                return int(workers[0])
        time.sleep(0.05)
    raise SystemExit("nginx has no worker")


def orthanc_process(folder: Path) -> int:
    """The process of the Orthanc of `folder`."""
    return int((folder / _ORTHANC_PID).read_text("ascii"))


@contextmanager
def orthanc(folder: Path, files: Sequence[Path], more: Mapping[str, object] | None = None) -> Iterator[int]:
    """Orthanc with its DICOMweb plugin, holding `files`; its HTTP port. `more` is further configuration."""
    if shutil.which("Orthanc") is None or not DICOMWEB_PLUGIN.exists():
        raise SystemExit("Orthanc is not installed; apt install orthanc orthanc-dicomweb")
    http, dicom = free_ports(2)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "HttpPort": http,
                "DicomPort": dicom,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [str(DICOMWEB_PLUGIN)],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                "KeepAlive": True,
                "TcpNoDelay": True,
                **(more or {}),
            }
        ),
        "ascii",
    )
    log = (folder / "orthanc.log").open("wb")
    # It answers by two small writes, and Debian's DCMTK holds the second one back for 40 ms otherwise.
    environment = {**os.environ, "TCP_NODELAY": "1"}
    process = subprocess.Popen(["Orthanc", str(config)], env=environment, stdout=log, stderr=log)
    (folder / _ORTHANC_PID).write_text(str(process.pid), "ascii")
    try:
        wait_for(http)
        for path in files:
            request = Request(f"http://127.0.0.1:{http}/instances", path.read_bytes(), method="POST")
            urlopen(request).read()
        yield http
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL cluster of its own with its durable defaults, on a Unix socket; its URL."""
    run = _programs_of(folder)
    run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale")
    with _started(run, folder, "-c max_wal_size=4GB") as url:
        yield url


@contextmanager
def standby(folder: Path, primary: Path) -> Iterator[str]:
    """A PostgreSQL that follows the one whose folder is `primary`, and answers queries; its URL."""
    run = _programs_of(folder)
    run("pg_basebackup", "-h", str(primary), "-U", "postgres", "-R", "--checkpoint", "fast")
    with _started(run, folder) as url:
        yield url


def _programs_of(folder: Path) -> Callable[..., None]:
    """Makes the folder of a cluster, and gives what runs a program of PostgreSQL for it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = Path(shutil.which("initdb") or (found[-1] if found else "")).resolve()
    if not initdb.is_file():
        raise SystemExit("PostgreSQL is not installed; apt install postgresql")
    folder.mkdir(parents=True)
    # PostgreSQL refuses to run as root; the cluster then belongs to the user postgres.
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if prefix:
        for place in (folder, *folder.parents):
            place.chmod(place.stat().st_mode | 0o011)
            if place.parent == Path(tempfile.gettempdir()):
                break
        shutil.chown(folder, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*prefix, str(initdb.with_name(program)), "-D", str(folder / "data"), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    return run


@contextmanager
def _started(run: Callable[..., None], folder: Path, more: str = "") -> Iterator[str]:
    options = f"-k {folder} -c listen_addresses='' {more}"
    run("pg_ctl", "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-m", "fast", "-w", "stop")
