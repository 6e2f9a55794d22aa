import os
from pathlib import Path

import pytest

from umekomi import settings as settings_module
from umekomi.errors import InputError
from umekomi.settings import Settings


def test_defaults_apply_without_environment_variables() -> None:
    settings = Settings.from_environment({})
    assert settings.device == "cpu"
    assert settings.cache == Path("~/.cache/umekomi").expanduser()
    assert (settings.precision, settings.threads, settings.batch_tokens, settings.offline) == ("auto", 0, 2048, False)


def test_asset_folders_are_separated_by_colons() -> None:
    assert Settings.from_environment({"UMEKOMI_ASSET_PATH": "/a:/b"}).asset_path == (Path("/a"), Path("/b"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UMEKOMI_THREADS", "two"),
        ("UMEKOMI_THREADS", "-1"),
        ("UMEKOMI_BATCH_TOKENS", "0"),
        ("UMEKOMI_PRECISION", "int3"),
        ("UMEKOMI_DEVICE", "gpu"),
        ("UMEKOMI_DEVICE", "cuda:one"),
    ],
)
def test_an_invalid_value_is_an_error(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{name} is '{value}'; set it to"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:12", "mps"])
def test_torch_device_names_are_accepted(device: str) -> None:
    assert Settings.from_environment({"UMEKOMI_DEVICE": device}).device == device


def test_the_repr_contains_no_key() -> None:
    assert "sk-secret" not in repr(Settings.from_environment({"OPENAI_API_KEY": "sk-secret"}))


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Path of the folder that replaces the home folder of a user without HOME and passwd entry."""

    def no_home(path: str) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", lambda path: no_home(str(path)) if str(path).startswith("~") else path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    settings_module._temporary_home.cache_clear()
    return tmp_path / f"umekomi-home-{os.getuid()}"


def test_without_a_home_folder_a_private_temporary_folder_is_used(
    homeless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.from_environment({})
    assert settings.cache == homeless / ".cache/umekomi"
    assert settings.state == homeless / ".local/state/umekomi"
    assert homeless.stat().st_mode & 0o777 == 0o700
    assert [record.getMessage() for record in caplog.records] == [
        f"There is no home folder; {homeless} is used instead. Set HOME, UMEKOMI_CACHE or UMEKOMI_STATE."
    ]


def test_a_temporary_home_folder_that_others_can_write_to_is_rejected(homeless: Path) -> None:
    homeless.mkdir()
    homeless.chmod(0o777)
    with pytest.raises(InputError, match=r"There is no home folder: HOME is not set.*UMEKOMI_CACHE"):
        Settings.from_environment({})
    assert Settings.from_environment({"UMEKOMI_CACHE": "/c", "UMEKOMI_STATE": "/s"}).cache == Path("/c")
