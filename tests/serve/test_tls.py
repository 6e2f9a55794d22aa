"""HTTPS: served with a certificate, and clear sentences for files that cannot be used."""

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
from .test_workers import until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

Run = Callable[..., subprocess.CompletedProcess[str]]


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_certificate(folder: Path, *, password: str | None = None) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    protection = ["-nodes"] if password is None else ["-passout", f"pass:{password}"]
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", *protection, "-days", 30, "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    return certificate, key


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_server_with_a_certificate_speaks_https(pair: tuple[Path, Path], options: list[str]) -> None:
    certificate, key = pair
    with served("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key), *options) as (server, url):
        assert url.startswith("https://127.0.0.1:")
        body = {"model": MODEL, "input": ["beans"] * 100}
        with httpx.Client(verify=trusting(certificate)) as client:
            assert len(client.post(f"{url}/embeddings", json=body, timeout=60).json()["data"]) == 100
        with pytest.raises(httpx.HTTPError):
            httpx.get(url.replace("https", "http") + "/models", timeout=60)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_a_key_with_a_password_and_a_key_in_the_certificates_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path, password="secret")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    monkeypatch.setenv("UMEKOMI_SSL_KEYFILE_PASSWORD", "secret")
    with served("--ssl-certfile", str(both)) as (_, url):
        assert httpx.get(f"{url}/models", verify=trusting(certificate), timeout=60).status_code == 200


def test_a_renewed_certificate_is_used_after_a_hangup(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path / "used")
    new_certificate, new_key = make_certificate(tmp_path / "new")
    with served("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)) as (server, url):
        shutil.copy(new_certificate, certificate)
        shutil.copy(new_key, key)
        server.send_signal(signal.SIGHUP)

        def is_new() -> bool:
            try:
                return httpx.get(f"{url}/models", verify=trusting(new_certificate), timeout=60).status_code == 200
            except httpx.ConnectError:
                return False

        until(is_new)
        # A broken one changes nothing.
        certificate.write_text("nonsense")
        server.send_signal(signal.SIGHUP)
        assert server.stderr is not None
        until(lambda: "the old certificate is used" in (server.stderr.readline() if server.stderr else ""))
        assert is_new()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no certificate", "nothing.pem cannot be read: No such file"),
        ("no key", "nothing.pem cannot be read: No such file"),
        ("folder", "cannot be read: Is a directory"),
        ("key only", "--ssl-keyfile needs --ssl-certfile"),
        ("another key", "does not belong to the certificate"),
        ("key missing in file", "holds no private key"),
        ("swapped", "cannot be used as a certificate"),
        ("not PEM", "is not a PEM file"),
        ("damaged", "cannot be used as a certificate"),
        ("password", "has a password; set UMEKOMI_SSL_KEYFILE_PASSWORD"),
        ("wrong password", "has a password; set UMEKOMI_SSL_KEYFILE_PASSWORD"),
    ],
)
def test_files_that_cannot_be_used_are_one_sentence(
    umekomi: Run, tmp_path: Path, pair: tuple[Path, Path], fault: str, sentence: str
) -> None:
    certificate, key = pair
    nothing, wrong = tmp_path / "nothing.pem", tmp_path / "wrong.pem"
    wrong.write_text(
        "nonsense" if fault == "not PEM" else "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    names: dict[str, tuple[Path | None, Path | None]] = {
        "no certificate": (nothing, key),
        "no key": (certificate, nothing),
        "folder": (tmp_path, key),
        "key only": (None, key),
        "key missing in file": (certificate, None),
        "swapped": (key, certificate),
        "not PEM": (wrong, key),
        "damaged": (wrong, key),
    }
    if fault == "another key":
        names[fault] = certificate, make_certificate(tmp_path / "other")[1]
    elif "password" in fault:
        names[fault] = make_certificate(tmp_path / "locked", password="secret")
    options: list[object] = []
    for name, path in zip(("--ssl-certfile", "--ssl-keyfile"), names[fault], strict=True):
        options += [] if path is None else [name, path]
    environment = {"UMEKOMI_SSL_KEYFILE_PASSWORD": "wrong"} if fault == "wrong password" else {}
    done = umekomi("serve", "-m", MODEL, "--port", 0, *options, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
