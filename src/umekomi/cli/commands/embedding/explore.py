"""``umekomi explore``."""

from __future__ import annotations

import json
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

import click

from ....embedder import Embedder
from ....encoders.model_ids import require_consent
from ....extras import needed_for
from ....settings import current
from ...listening import listen
from ...options import load_embedder, port_option, query_model_option
from ...output import echo, echo_err

if TYPE_CHECKING:
    from ....explore.views import Explorer


@click.command("explore", epilog="Example:  umekomi explore reviews.parquet")
@click.argument("source", metavar="INPUT")
@port_option(default=0)
@query_model_option
@click.option("--text", metavar="COLUMN", help="Column to show. Default: text, or the column with the longest texts.")
@click.option("--open/--no-open", "opens", default=True, help="Open the page in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON when the page is ready.")
def command(source: str, port: int, model: str | None, text: str | None, opens: bool, as_json: bool) -> None:
    """Explore, search and understand embeddings in the browser.

    INPUT is a Parquet file written by `umekomi embed`, or the URL of a store. The page is served on this machine only, and works
    without a network. Ctrl-C stops the server.
    """
    with needed_for("Exploring"):
        import uvicorn

        from ....serve.app import create_app
        from ....serve.limits.connections import HttpProtocol
        from ....serve.middleware.auth import LOOPBACK_NAMES
        from ....serve.models import Models
        from ....serve.routes.explorer import PATH, explorer_routes
    # Before the file is read, because the port may be in use.
    with listen("127.0.0.1", port, reuse_port=False) as listener:
        explorer = make_explorer(source, model=model, text=text)
        models = Models(load=load_embedder)
        app = create_app(models, routes=explorer_routes(explorer), hosts=LOOPBACK_NAMES)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}{PATH}/"
        if as_json:
            echo(json.dumps({"url": address, "rows": len(explorer.dataset)}))
        else:
            echo(f"Ready: {address}   (Ctrl-C stops the server)")
        sys.stdout.flush()
        if opens:
            threading.Timer(0.8, webbrowser.open, [address]).start()
        config = uvicorn.Config(
            app, lifespan="on", http=HttpProtocol, ws="none", log_level="warning", access_log=False, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def make_explorer(source: str, *, model: str | None = None, text: str | None = None) -> Explorer:
    """Return an explorer, which computes its map in a background thread."""
    from ....explore.dataset import open_dataset
    from ....explore.views import Explorer

    dataset = open_dataset(source, text=text)

    def load() -> Embedder:
        # Only queries need the model, so the map works without consent.
        return load_embedder(model or require_consent(dataset.space.model, source=source, option="-m"))

    explorer = Explorer(dataset, embedder=load, settings=current())
    skipped = len(dataset) - len(dataset.usable)
    if skipped:
        echo_err(f"{skipped:,} rows without a usable vector (missing, zero or not finite) are not on the map.")
    echo_err(f"{len(dataset):,} texts of {dataset.space.model}. Computing the map and the groups …")
    threading.Thread(target=explorer.prepare, daemon=True).start()
    return explorer
