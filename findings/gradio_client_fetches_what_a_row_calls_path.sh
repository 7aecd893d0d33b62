#!/usr/bin/env bash
# gradio 6.31.0, gradio_client 2.7.2; seen on 2026-11-29.
# One expects: a detector behind Gradio answers with a JSON component, such as {"path": "holiday.jpg", "score": 0.9}, the row
#   that it also writes to a file, and gradio_client returns that dictionary, as curl and a browser do.
# What happens: gradio_client takes every dictionary with a text under "path", at any depth of the answer, for a file that the
#   server offers, asks for it, and the whole call ends with HTTP 403. Under any other name the same row arrives. The page
#   in the browser works either way, so only the programs of users fail.
# What to do: give rows another key than "path" ("image"), or answer with the JSON as text and parse it on the other side.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gradio==6.31.0 gradio_client==2.7.2
cd "$folder"
GRADIO_ANALYTICS_ENABLED=False "$folder/venv/bin/python" - <<'PYTHON'
import gradio as gr
from gradio_client import Client

NAMED = {"path": "holiday.jpg", "score": 0.9}
ANSWERS = {"path": NAMED, "deeper": {"images": [NAMED]}, "renamed": {"image": "holiday.jpg", "score": 0.9}}
with gr.Blocks(analytics_enabled=False) as app:
    asked = gr.Textbox()
    for name, answer in ANSWERS.items():
        gr.Button().click(lambda _, answer=answer: answer, asked, gr.JSON(), api_name=name)
_, url, _ = app.launch(prevent_thread_lock=True, quiet=True)
client = Client(url, verbose=False, httpx_kwargs={"timeout": 60})  # of itself it waits five seconds
seen = {}
for name in ANSWERS:
    try:
        seen[name] = client.predict("", api_name=f"/{name}")
    except Exception as error:
        seen[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    print(f"{name:8} {seen[name]}")
app.close()
assert "403" in str(seen["path"]), "changed: a row with a path arrives"
assert "403" in str(seen["deeper"]), "changed: a row with a path arrives inside of another value"
assert seen["renamed"] == ANSWERS["renamed"], "changed: a row without a path does not arrive"
PYTHON
echo "as found: a row with a path ends in 403, the same row under another name arrives"
