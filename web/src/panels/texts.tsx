import type { Brief } from "../api";
import { t } from "../i18n";
import { focusTarget, open } from "../state";

/** A list of texts. Clicking a text opens its record and moves the map to its point. */
export function Texts({ items, formatScore }: { items: Brief[]; formatScore?: (item: Brief) => string }) {
  if (!items.length) return <p class="quiet">{t("noHits")}</p>;
  return (
    <ol class="texts">
      {items.map((item) => (
        <li key={item.index}>
          <button
            type="button"
            onClick={() => {
              focusTarget.value = { indices: [item.index] };
              void open(item.index);
            }}
          >
            <span class="score">{formatScore ? formatScore(item) : item.score.toFixed(3)}</span>
            <span class="text" dir="auto">{item.text}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}
