"""A page to drop images on: python -m scripts.demo MODEL [--port 7860]

Shows verdict, probability, windows, heat map and stability. It listens on this machine only, unless
--host says otherwise, and sends nothing anywhere. Needs the extra: pip install -e '.[demo]'
"""

import argparse
import os

from shards.command import CommandParser, InputError, run_command


def main(argv: list[str] | None = None) -> int:
    """Parses, loads, serves until it is interrupted."""
    parser = CommandParser(
        prog="python -m scripts.demo", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("model", metavar="MODEL", help="run, exported model, or USER/NAME")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=7860)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args(argv)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    from glass.detection.detector import Detector
    from glass.detection.page import build_page

    detector = Detector.from_pretrained(arguments.model, device=arguments.device)
    page = build_page(detector)
    try:
        page.launch(
            server_name=arguments.host, server_port=arguments.port, share=False, quiet=True,
            prevent_thread_lock=True,
        )  # fmt: skip
    except OSError as error:
        raise InputError(
            f"cannot listen on port {arguments.port} of {arguments.host}: give another --port, or a"
            " --host that is an address of this machine"
        ) from error
    print(f"open http://{arguments.host}:{arguments.port} (stop with Ctrl-C)", flush=True)
    page.block_thread()
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 … 65535")
    return int(text)


if __name__ == "__main__":
    run_command(main)
