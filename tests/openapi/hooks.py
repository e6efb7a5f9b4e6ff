"""What schemathesis can't read from the document."""

import os
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps the caller from changing or removing themselves, which would lock out the rest of the run."""
    if (case.path_parameters or {}).get("id") == os.environ["HYPRBOX_TEST_SELF"]:
        case.path_parameters["id"] = str(uuid.uuid4())


@schemathesis.hook
def map_body(context, body):
    """JSON Schema counts 22.0 as an integer; the server refuses it on purpose, as `22.0 is not a port`."""
    if isinstance(body, dict):
        return {name: map_body(context, value) for name, value in body.items()}
    if isinstance(body, list):
        return [map_body(context, value) for value in body]
    if isinstance(body, float) and body.is_integer():
        return int(body)
    return body
