"""`serve`: the page and the HTTP service on this machine; `model-server`: the embedding model for others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.errors import NotFoundError, RagstoneError


def serve(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files and folders to index meanwhile.")
    ] = None,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    search_processes: Annotated[
        int | None, typer.Option(min=0, max=64, help="Processes that search; 0: threads of this one.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
    json_output: invocation.JsonFlag = False,
) -> int:
    """Serve the page and the HTTP interface until Ctrl-C.

    Paths are indexed in the background meanwhile. With --json the address is printed as {"url": …} once it answers.
    """
    try:
        from ragstone.server.admission import admission_of, search_processes_of
        from ragstone.server.serving import serve as run_service
    except ModuleNotFoundError as error:
        raise _extra_missing(error) from error

    for path in paths or ():
        if not path.expanduser().exists():
            raise NotFoundError(f"no file or folder {path}", hint="check the path; nothing was started")
    current = invocation.of(context)
    given = {"host": host, "port": port, "search_processes": search_processes}
    settings = current.settings(**given)
    with current.engine(**given) as engine:
        run_service(
            engine,
            host=settings.host,
            port=settings.port,
            paths=paths or (),
            open_browser=open_page,
            admission=admission_of(settings),
            streaming=settings.enable_streaming,
            answer_limit_s=settings.request_timeout_s,
            search_processes=search_processes_of(settings),
            announce=_announcing(json_output=json_output),
        )
    return 0


def model_server(
    context: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes; one per device if not given.")
    ] = None,
    devices: Annotated[
        str, typer.Option(help="GPUs by number, each for a worker in turn: 0,1.", metavar="LIST")
    ] = "",
    json_output: invocation.JsonFlag = False,
) -> int:
    """Serve the embedding model alone, to other ragstones and to OpenAI's clients, until Ctrl-C.

    Others set model=openai:NAME and embedding_base_url. With --json the address comes as {"url": …} once it answers.
    """
    try:
        from ragstone.server.model_server import serve_model
    except ModuleNotFoundError as error:
        raise _extra_missing(error) from error
    settings = invocation.of(context).settings(host=host, port=port)
    invocation.log_to(settings)
    listed = [name.strip() for name in devices.split(",") if name.strip()]
    serve_model(settings, workers=workers, devices=listed, announce=_announcing(json_output=json_output))
    return 0


def _announcing(*, json_output: bool) -> Callable[[str], None]:
    def announce(url: str) -> None:
        if json_output:
            terminal.say_json({"url": url})
        else:
            terminal.say(f"serving on {url}  (Ctrl-C stops)")

    return announce


def _extra_missing(error: ModuleNotFoundError) -> RagstoneError:
    return RagstoneError(
        f"the service needs a package that is not installed: {error.name}",
        hint="install it with: pip install 'ragstone[server]'",
        code="extra_missing",
    )
