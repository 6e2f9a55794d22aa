import type { Brief } from "../api";
import { t } from "../i18n";
import { fly, open } from "../state";

/** Texts as buttons: a press opens the record and shows its point. */
export function Texts({ items, note }: { items: Brief[]; note?: (item: Brief) => string }) {
  if (!items.length) return <p class="quiet">{t("noHits")}</p>;
  return (
    <ol class="texts">
      {items.map((item) => (
        <li key={item.index}>
          <button
            type="button"
            onClick={() => {
              fly.value = { indices: [item.index] };
              void open(item.index);
            }}
          >
            <span class="score">{note ? note(item) : item.score.toFixed(3)}</span>
            <span class="text" dir="auto">{item.text}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}
