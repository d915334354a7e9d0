"""Talk to the simulated gateway's control port: its truth, its faults, its prices."""

import http.client
import json
from typing import Any

from ibloop.errors import GatewayUnavailableError

TIMEOUT_S = 10.0


class SimControl:
    """The control port of one simulator on this machine."""

    def __init__(self, port: int) -> None:
        """Take the port that the simulator's ready line or ``_gateway.json`` tells."""
        self.url = f"http://127.0.0.1:{port}"
        self._port = port

    def truth(self) -> dict[str, Any]:
        """Return what the simulated broker knows (DESIGN §5: accounts, orders, executions ...)."""
        answer: dict[str, Any] = self._ask("GET", "/truth", None)
        return answer

    def fault(self, name: str, **parameters: object) -> None:
        """Switch a fault on; the name ``clear`` switches all off."""
        self._ask("POST", "/fault", {"name": name, **parameters})

    def shock(self, fraction: float) -> None:
        """Multiply every price by ``1 + fraction`` from now on."""
        self._ask("POST", "/quote", {"shock": fraction})

    def _ask(self, method: str, path: str, body: dict[str, object] | None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise GatewayUnavailableError(f"{self.url}{path} does not answer: {error}") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise GatewayUnavailableError(f"{self.url}{path}: {content.get('error', content)}")
        return content
