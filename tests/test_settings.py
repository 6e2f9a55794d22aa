from pathlib import Path

import pytest

from umekomi.errors import InputError
from umekomi.settings import Settings


def test_an_empty_environment_has_sensible_settings() -> None:
    settings = Settings.from_environment({})
    assert settings.device == "cpu"
    assert settings.cache == Path("~/.cache/umekomi").expanduser()
    assert (settings.precision, settings.threads, settings.batch_tokens, settings.offline) == ("auto", 0, 2048, False)


def test_folders_of_assets_are_separated_as_in_path() -> None:
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
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{name} is '{value}'; set it to"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:12", "mps"])
def test_a_device_is_named_as_in_torch(device: str) -> None:
    assert Settings.from_environment({"UMEKOMI_DEVICE": device}).device == device


def test_a_key_is_never_printed() -> None:
    assert "sk-secret" not in repr(Settings.from_environment({"OPENAI_API_KEY": "sk-secret"}))
