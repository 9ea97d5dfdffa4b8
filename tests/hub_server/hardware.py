"""GET /api/spaces/hardware and /api/jobs/hardware: what can be rented, and for how much."""

from __future__ import annotations

from tests.hub_server.call import Call
from tests.hub_server.flavours import DOLLARS_A_MINUTE
from tests.hub_server.messages import Response, json_response


def list_hardware(call: Call) -> Response:
    """Open to everybody."""
    return json_response(
        [
            {
                "name": name,
                "prettyName": name.replace("-", " "),
                "cpu": "4 vCPU",
                "ram": "15 GB",
                "unitCostMicroUSD": round(price * 1_000_000),
                "unitCostUSD": price,
                "unitLabel": "minute",
            }
            for name, price in DOLLARS_A_MINUTE.items()
        ]
    )
