"""HTTPS with a certificate, and the errors for unusable files."""

import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from .conftest import MODEL
from .test_command import served
from .test_workers import wait_until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

Run = Callable[..., subprocess.CompletedProcess[str]]


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_certificate(folder: Path, *, password: str | None = None) -> tuple[Path, Path]:
    """Create a self-signed certificate for localhost, and return the paths of the certificate and its key."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    protection = ["-nodes"] if password is None else ["-passout", f"pass:{password}"]
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", *protection, "-days", 30, "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    return certificate, key


def trust(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_server_with_a_certificate_uses_https(pair: tuple[Path, Path], options: list[str]) -> None:
    certificate, key = pair
    with served("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key), *options) as (server, url):
        assert url.startswith("https://127.0.0.1:")
        body = {"model": MODEL, "input": ["beans"] * 100}
        with httpx.Client(verify=trust(certificate)) as client:
            assert len(client.post(f"{url}/embeddings", json=body, timeout=60).json()["data"]) == 100
        with pytest.raises(httpx.HTTPError):
            httpx.get(url.replace("https", "http") + "/models", timeout=60)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_the_certificate_file_can_contain_a_key_with_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path, password="secret")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    monkeypatch.setenv("UMEKOMI_SSL_KEYFILE_PASSWORD", "secret")
    with served("--ssl-certfile", str(both)) as (_, url):
        assert httpx.get(f"{url}/models", verify=trust(certificate), timeout=60).status_code == 200


def test_sighup_loads_a_renewed_certificate(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path / "used")
    new_certificate, new_key = make_certificate(tmp_path / "new")
    with served("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)) as (server, url):
        shutil.copy(new_certificate, certificate)
        shutil.copy(new_key, key)
        server.send_signal(signal.SIGHUP)

        def is_new() -> bool:
            try:
                return httpx.get(f"{url}/models", verify=trust(new_certificate), timeout=60).status_code == 200
            except httpx.ConnectError:
                return False

        wait_until(is_new)
        # An invalid certificate is ignored.
        certificate.write_text("nonsense")
        server.send_signal(signal.SIGHUP)
        assert server.stderr is not None
        wait_until(lambda: "the certificate was not reloaded" in (server.stderr.readline() if server.stderr else ""))
        assert is_new()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no certificate", "missing.pem cannot be read: No such file"),
        ("no key", "missing.pem cannot be read: No such file"),
        ("folder", "cannot be read: Is a directory"),
        ("key only", "--ssl-keyfile needs --ssl-certfile"),
        ("another key", "does not belong to the certificate"),
        ("key missing in file", "contains no valid private key"),
        ("swapped", "not a valid certificate and private key"),
        ("not PEM", "is not a PEM file"),
        ("damaged", "not a valid certificate and private key"),
        ("password", "is encrypted. Set UMEKOMI_SSL_KEYFILE_PASSWORD"),
        ("wrong password", "is encrypted. Set UMEKOMI_SSL_KEYFILE_PASSWORD"),
    ],
)
def test_unusable_files_are_a_one_line_error(
    umekomi: Run, tmp_path: Path, pair: tuple[Path, Path], fault: str, sentence: str
) -> None:
    certificate, key = pair
    missing, invalid = tmp_path / "missing.pem", tmp_path / "invalid.pem"
    invalid.write_text(
        "nonsense" if fault == "not PEM" else "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    paths: dict[str, tuple[Path | None, Path | None]] = {
        "no certificate": (missing, key),
        "no key": (certificate, missing),
        "folder": (tmp_path, key),
        "key only": (None, key),
        "key missing in file": (certificate, None),
        "swapped": (key, certificate),
        "not PEM": (invalid, key),
        "damaged": (invalid, key),
    }
    if fault == "another key":
        paths[fault] = certificate, make_certificate(tmp_path / "other")[1]
    elif "password" in fault:
        paths[fault] = make_certificate(tmp_path / "locked", password="secret")
    options: list[object] = []
    for name, path in zip(("--ssl-certfile", "--ssl-keyfile"), paths[fault], strict=True):
        options += [] if path is None else [name, path]
    environment = {"UMEKOMI_SSL_KEYFILE_PASSWORD": "wrong"} if fault == "wrong password" else {}
    result = umekomi("serve", "-m", MODEL, "--port", 0, *options, **environment)
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
