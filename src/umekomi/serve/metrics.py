"""Counters for ``GET /metrics``, in the text format of Prometheus. They contain routes and numbers, but nothing that was sent."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Mapping

#: Upper bounds of the buckets of the histogram of request times, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one process since its start. Used from one event loop."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._histograms: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        self._seconds: dict[str, float] = defaultdict(float)
        self._tokens: Counter[str] = Counter()

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests[method, route, status] += 1
        self._histograms[route][bisect.bisect_left(BOUNDS, seconds)] += 1
        self._seconds[route] += seconds

    def count_tokens(self, model: str, tokens: int) -> None:
        """Count the tokens of texts that have been embedded."""
        self._tokens[model] += tokens

    def render(self, gauges: Mapping[str, float]) -> str:
        """Return the response body, with gauges of the present moment."""
        lines = ["# TYPE umekomi_requests_total counter"]
        for (method, route, status), count in sorted(self._requests.items()):
            lines.append(f'umekomi_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}')
        lines.append("# TYPE umekomi_tokens_total counter")
        lines += [f'umekomi_tokens_total{{model="{model}"}} {count}' for model, count in sorted(self._tokens.items())]
        lines.append("# TYPE umekomi_request_seconds histogram")
        for route, counts in sorted(self._histograms.items()):
            total = 0
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
                total += count
                lines.append(f'umekomi_request_seconds_bucket{{route="{route}",le="{bound}"}} {total}')
            lines.append(f'umekomi_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
            lines.append(f'umekomi_request_seconds_count{{route="{route}"}} {total}')
        for name, value in gauges.items():
            lines += [f"# TYPE umekomi_{name} gauge", f"umekomi_{name} {value:g}"]
        return "\n".join(lines) + "\n"
