"""An image made on the spot: busybox, a passwd and a group, as an archive that every engine loads."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

NAME = "localhost/busybox:1"
MEDIA = "application/vnd.oci.image"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home:/bin/sh\n"
GROUP = "root:x:0:\nalice:x:1000:\nextra:x:2000:alice\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def make_layer(busybox: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "etc", "proc", "sys", "dev", "root", "home", "var", "tmp"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        add_file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout
        for applet in set(listed.split()) - {"busybox"}:
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
        add_file(tar, "etc/passwd", PASSWD.encode())
        add_file(tar, "etc/group", GROUP.encode())
    return buffer.getvalue()


def describe(kind: str, data: bytes, **more: object) -> dict[str, object]:
    return {"mediaType": f"{MEDIA}.{kind}", "digest": f"sha256:{digest(data)}", "size": len(data), **more}


def write_archive(path: Path, busybox: Path = Path("/bin/busybox")) -> None:
    """Write an OCI archive with the manifest of `docker save` beside its own."""
    layer = make_layer(busybox)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}"]},
        "history": [{"created_by": "the tests of pyrunc"}],
    }
    config_data = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}.manifest.v1+json",
        "config": describe("config.v1+json", config_data),
        "layers": [describe("layer.v1.tar", layer)],
    }
    manifest_data = json.dumps(manifest).encode()
    names = {"org.opencontainers.image.ref.name": "1", "io.containerd.image.name": NAME}
    index = {
        "schemaVersion": 2,
        "manifests": [describe("manifest.v1+json", manifest_data, annotations=names)],
    }
    blobs = f"blobs/sha256/{digest(config_data)}"
    saved = [{"Config": blobs, "RepoTags": [NAME], "Layers": [f"blobs/sha256/{digest(layer)}"]}]
    with tarfile.open(path, "w") as tar:
        add_file(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add_file(tar, "index.json", json.dumps(index).encode())
        add_file(tar, "manifest.json", json.dumps(saved).encode())
        for blob in (layer, config_data, manifest_data):
            add_file(tar, f"blobs/sha256/{digest(blob)}", blob)
