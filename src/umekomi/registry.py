"""Plugins: installed packages that extend Umekomi through entry points.

====================  =====================================================================================
``umekomi.encoders``  a function that builds encoders of a type (:class:`umekomi.encoders.EncoderBuilder`)
``umekomi.stores``    the :class:`umekomi.stores.EngineSpec` of a URL scheme
``umekomi.commands``  a ``click.Command`` of the command line
``umekomi.models``    a catalog file, as ``package:file.toml``
====================  =====================================================================================

Names are read from the metadata of installed packages. A plugin is imported when its name is first used, so a broken plugin
affects nothing else. See docs/plugins.md.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import PluginError

if TYPE_CHECKING:
    from pathlib import Path

ENCODERS, STORES, COMMANDS, MODELS = GROUPS = (
    "umekomi.encoders",
    "umekomi.stores",
    "umekomi.commands",
    "umekomi.models",
)
_NOUNS = {ENCODERS: "encoder type", STORES: "store", COMMANDS: "command", MODELS: "catalog"}


class Plugin(NamedTuple):
    """One entry point of an installed package."""

    #: Entry point group, such as ``umekomi.stores``.
    group: str
    #: Name that users type, such as the scheme of a store's URL.
    name: str
    #: Location of the object, as ``module:attribute``.
    value: str
    #: Name of the installed package.
    package: str

    def __str__(self) -> str:
        return f"the {_NOUNS.get(self.group, self.group)} {self.name!r} of the package {self.package}"

    def load(self, *, expected: str, is_valid: Callable[[Any], bool]) -> Any:
        """Import the plugin and return its object.

        Args:
            expected: Description of a valid object, for the message.
            is_valid: Returns whether the imported object can be used.

        Raises:
            PluginError: The import fails, or the object is not what the group requires.
        """
        module, _, attribute = self.value.partition(":")
        try:
            value: Any = importlib.import_module(module)
            for name in filter(None, attribute.split(".")):
                value = getattr(value, name)
        except Exception as error:  # a plugin may raise anything
            raise self._error(f"cannot be imported ({type(error).__name__}: {_first_line(error)})") from error
        if not is_valid(value):
            raise self._error(f"is not {expected}")
        return value

    def file(self) -> Path:
        """Return the path of a data file, ``package:file``, without importing the package.

        Raises:
            PluginError: The package has no such file.
        """
        from importlib.util import find_spec
        from pathlib import Path

        module, _, name = self.value.partition(":")
        top, *folders = module.split(".")
        spec = find_spec(top)
        if spec is not None and spec.submodule_search_locations:
            roots = [Path(location, *folders) for location in spec.submodule_search_locations]
        else:
            roots = [Path(spec.origin).parent] if spec is not None and spec.origin else []
        for root in roots:
            if (root / name).is_file():
                return root / name
        raise self._error(f"has no file {name!r} in {module}")

    def _error(self, problem: str) -> PluginError:
        return PluginError(f"T{str(self)[1:]} {problem}. Update or uninstall the package.")


@cache
def installed_plugins() -> tuple[Plugin, ...]:
    """Return the plugins of all installed packages, sorted. Nothing is imported.

    Unlike ``importlib.metadata.entry_points``, this reads only the metadata of packages that extend Umekomi, which keeps
    ``umekomi --help`` fast in large environments.
    """
    plugins: dict[str, list[Plugin]] = {}
    for folder in _metadata_folders():
        # Imported lazily, so that --help is fast without plugins.
        from importlib.metadata import PathDistribution
        from pathlib import Path

        distribution = PathDistribution(Path(folder))
        package = str(distribution.metadata["Name"])
        # The first folder of sys.path wins, as for imports.
        plugins.setdefault(
            re.sub(r"[-_.]+", "-", package).lower(),
            [
                Plugin(entry.group, entry.name, entry.value, package)
                for entry in distribution.entry_points
                if entry.group.startswith("umekomi.")
            ],
        )
    for plugin in (plugin for group in plugins.values() for plugin in group if plugin.group not in GROUPS):
        _log_once(
            f"The entry point {plugin.name!r} of the package {plugin.package} is ignored, because the group {plugin.group!r} is "
            f"unknown. The groups are {', '.join(GROUPS)}."
        )
    return tuple(
        sorted((plugin for group in plugins.values() for plugin in group), key=lambda p: (p.group, p.name, p.package))
    )


def _metadata_folders() -> Iterator[str]:
    for folder in dict.fromkeys(sys.path):
        with suppress(OSError):
            for name in sorted(
                name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))
            ):
                path = os.path.join(folder, name)
                with suppress(OSError), open(os.path.join(path, "entry_points.txt"), "rb", buffering=0) as stream:
                    if b"[umekomi." in stream.read():
                        yield path


def plugins_of(group: str, *, builtin: Collection[str] = ()) -> dict[str, Plugin]:
    """Return the plugins of a group by name. Names that are not unique are left out and logged, once per process.

    Args:
        group: Entry point group.
        builtin: Names that Umekomi defines itself. A plugin cannot replace them.
    """
    errors = collisions(group, builtin=builtin)
    for message in errors.values():
        _log_once(message)
    return {
        plugin.name: plugin for plugin in installed_plugins() if plugin.group == group and plugin.name not in errors
    }


def collisions(group: str, *, builtin: Collection[str] = ()) -> dict[str, str]:
    """Return the error message for each name of a group that is not unique."""
    packages: dict[str, list[str]] = {}
    for plugin in installed_plugins():
        if plugin.group == group:
            packages.setdefault(plugin.name, []).append(plugin.package)
    return {
        name: f"The {_NOUNS[group]} {name!r} of the package {' and '.join(names)} is ignored, because "
        + (
            "Umekomi has one of the same name. Update or uninstall the package."
            if name in builtin
            else "two packages define it. Uninstall one of them."
        )
        for name, names in packages.items()
        if name in builtin or len(names) > 1
    }


def find_plugin(group: str, name: str, *, builtin: Collection[str] = ()) -> Plugin | None:
    """Return the plugin of a name, or None.

    Raises:
        PluginError: Two packages define the name.
    """
    plugin = plugins_of(group, builtin=builtin).get(name)
    if plugin is None and name not in builtin and (message := collisions(group, builtin=builtin).get(name)):
        raise PluginError(message)
    return plugin


@cache
def _log_once(message: str) -> None:
    # Imported lazily: `umekomi --help` does not need it.
    import logging

    logging.getLogger(__name__).warning(message)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "no message")[:300]
