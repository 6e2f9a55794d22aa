import { api } from "../api";
import { t } from "../i18n";
import { focusTarget, handleErrors, meta, row, search, select, selected, selection, shorten, skipped, view } from "../state";
import { Texts } from "./texts";

function format(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The drawer at the right: the opened record, or the selection of the lasso. */
export function DetailsPanel() {
  if (selection.value) return <SelectionDetails />;
  if (row.value) return <RowDetails />;
  return null;
}

function RowDetails() {
  const record = row.value!;
  return (
    <section class="details" aria-label={t("record")}>
      <button type="button" class="close" aria-label={t("close")} onClick={() => (row.value = null)}>×</button>
      <p class="full" dir="auto">{shorten(record.text, 20_000)}</p>
      <div class="actions">
        <button type="button" disabled={skipped.value[record.index] === 1} onClick={() => (focusTarget.value = { indices: [record.index] })}>{t("showOnMap")}</button>
        <button
          disabled={skipped.value[record.index] === 1}
          type="button"
          onClick={() => {
            view.value = "search";
            void search(0, { index: record.index }, `≈ ${shorten(record.text)}`);
          }}
        >
          {t("moreLikeThis")}
        </button>
      </div>
      <dl>
        {Object.entries(record.record).map(([name, value]) => (
          <div key={name}>
            <dt dir="auto">{shorten(name)}</dt>
            <dd dir="auto">{shorten(format(value), 600)}</dd>
          </div>
        ))}
      </dl>
      <h2>{t("neighbors")}</h2>
      <Texts items={record.neighbors} />
    </section>
  );
}

function SelectionDetails() {
  const current = selection.value!;
  const columns = meta.value?.columns.map(({ name }) => name).slice(0, 6) ?? [];
  const save = (style: "spreadsheet" | "exact") =>
    handleErrors(async () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await api.csv(selected.value, style));
      link.download = style === "exact" ? "selection-exact.csv" : "selection.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  return (
    <section class="details wide" aria-label={t("selection")}>
      <button type="button" class="close" aria-label={t("close")} onClick={() => void select([])}>×</button>
      <h2 class="title">{t("selected", { n: current.n })}</h2>
      <div class="actions">
        <button type="button" title={t("saveCsvHelp")} onClick={() => void save("spreadsheet")}>{t("saveCsv")}</button>
        <button type="button" title={t("saveExactHelp")} onClick={() => void save("exact")}>{t("saveExact")}</button>
        <button type="button" onClick={() => (focusTarget.value = { indices: selected.value })}>{t("showOnMap")}</button>
      </div>
      <h2>{t("words")}</h2>
      <p class="quiet">{t("wordsHelp")}</p>
      <ul class="words">
        {current.words.map(({ term, share, elsewhere }) => (
          <li key={term}>
            <b dir="auto">{shorten(term, 40)}</b> {Math.round(share * 100)}% <span class="quiet">/ {Math.round(elsewhere * 100)}%</span>
          </li>
        ))}
      </ul>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>text</th>
              {columns.map((name) => (
                <th key={name} dir="auto">{shorten(name, 30)}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {current.rows.map(({ index, text, record }) => (
              <tr key={index}>
                <td dir="auto">{shorten(text, 140)}</td>
                {columns.map((name) => (
                  <td key={name} dir="auto">{shorten(format(record[name]), 40)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {current.n > current.rows.length && <p class="quiet">{t("more", { n: current.n - current.rows.length })}</p>}
    </section>
  );
}
