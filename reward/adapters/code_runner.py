"""Has a model's program run by code_server.py, in a sandbox of its own, and passes on what it printed; runs none of it itself. One JSON line
{"nonce", "code", "limit"} on stdin; on stdout "ready" once the server stands, then one line {"nonce", "printed"} or {"nonce", "failed": why}. Where
the server does not stand nothing is said: that is not the code's fault. Pipes to and from the server are the descriptors 3 and 4.
"""

import json
import os
import sys

LIMIT = 17 << 20


def run(request, to, back):
    to.write(json.dumps({"run": request["code"], "input": ""}).encode() + b"\n")
    to.flush()
    line = back.readline(LIMIT)
    if not line.endswith(b"\n"):
        return {"failed": "the code ended its process"}
    reply = json.loads(line)
    if isinstance(reply, dict) and type(reply.get("v")) is str:
        return {"printed": reply["v"][: request["limit"]]}
    error = reply.get("e") if isinstance(reply, dict) else None
    return {"failed": str(error[1])[:300] if isinstance(error, list) and len(error) > 1 else "the code's process wrote what is no reply"}


def main():
    request = json.loads(sys.stdin.readline())
    to, back = os.fdopen(3, "wb"), os.fdopen(4, "rb")
    if back.readline(LIMIT) != b'{"ready": true}\n':
        os._exit(1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        said = run(request, to, back)
    except BaseException as error:
        said = {"failed": f"{type(error).__name__}: {error}"[:300]}
    sys.stdout.write(json.dumps({"nonce": request["nonce"], **said}) + "\n")
    sys.stdout.flush()
    os._exit(0)


main()
