"""Ready-made bulk bodies from a file over two connections: what the server can take. Waits for a line on stdin."""

import http.client
import sys
import threading
from urllib.parse import urlsplit


def main(url: str, path: str, file: str) -> None:
    """`file` holds bodies, each after a line with its length."""
    bodies = []
    with open(file, "rb") as source:  # noqa: PTH123
        while line := source.readline():
            bodies.append(source.read(int(line)))
    waiting, lock = iter(bodies), threading.Lock()
    sys.stdin.readline()

    def work() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return
            connection.request("POST", path, body, {"content-type": "application/x-ndjson"})
            if not connection.getresponse().read().startswith(b'{"errors":false'):
                raise SystemExit("a bulk request was refused")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
