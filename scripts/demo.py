"""A web page that gives verdicts on images dropped on it: glass demo MODEL [--port 7860]

It is the page that glass predict --html writes: verdict, score, windows, heat map, stability and what the file says
about itself. The command listens only on this machine, unless --host gives another address, and sends nothing anywhere.
Uploads, 64 MiB each at most, are kept in a temporary folder for a quarter of an hour, or until the command ends. Needs
the extra: pip install -e '.[demo]'
"""

import argparse
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shards.cli.command import CommandParser, run_command
from shards.errors import InputError

from .arguments import add_device, script_parser, threshold_advice

if TYPE_CHECKING:
    from glass.predict.detector import Detector

SWEEP_EVERY_S = 60
"""Seconds between searches for old uploads."""


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("demo", description=(__doc__ or "").partition("\n\n")[2])
    parser.advice = threshold_advice
    parser.add_argument("model", metavar="MODEL", help="run, exported model, or USER/NAME")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=_port, default=7860, help="port to listen on; default %(default)s")
    add_device(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Loads the detector and serves the page until the command is interrupted. Returns exit code 0."""
    arguments = parser().parse_args(argv)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    # Gradio's history keeps uploads in the browser, and lets a caller have them sent to a bucket on the hub.
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    from glass.export.pixel_rules import print_decoder_warnings
    from glass.predict.detector import Detector
    from glass.share.uploads import upload_folder

    with print_decoder_warnings() as warned:
        detector = Detector.from_pretrained(arguments.model, device=arguments.device)
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that uploads are deleted then
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    with upload_folder() as uploads:
        _serve(detector, warned, arguments, uploads)
    return 0


def _serve(detector: "Detector", warned: list[str], arguments: argparse.Namespace, uploads: Path) -> None:
    """Serves the page until Ctrl-C or SIGTERM, and regularly deletes old files in ``uploads``."""
    from glass.share.demo_page import build_page
    from glass.share.uploads import MAX_UPLOAD_BYTES, delete_old

    page = build_page(detector, warned)
    # Gradio first asks its own page, which a proxy would not find. Nothing else is fetched from now on.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host  # IPv6, as in addresses of pages
    try:
        page.launch(
            server_name=host,
            server_port=arguments.port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MAX_UPLOAD_BYTES,
        )
    except OSError as error:
        raise InputError(
            f"cannot listen on port {arguments.port} of {arguments.host}: give another --port, or as --host an "
            "address of this machine"
        ) from error
    print(f"open http://{host}:{arguments.port} (stop with Ctrl-C)", flush=True)
    try:
        while True:
            time.sleep(SWEEP_EVERY_S)
            delete_old(uploads)
    except KeyboardInterrupt:
        page.close(verbose=False)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


if __name__ == "__main__":
    run_command(main)
