import { signal } from "@preact/signals";
import { api } from "../api";
import { categorical, css } from "../color";
import { t } from "../i18n";
import { dark, handleErrors, labels, meta, searches } from "../state";
import { Texts } from "./texts";

const text = signal("");
let timer = 0;

function apply(): void {
  clearTimeout(timer);
  const names = text.value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (names.length < 2) {
    labels.value = null;
    return;
  }
  void handleErrors(async () => {
    const result = await api.labels(names);
    searches.value = [null, null];
    labels.value = result;
  });
}

export function LabelsPanel() {
  return (
    <>
      <p class="quiet">{t("labelHelp")}</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          apply();
        }}
      >
        <textarea
          id="labels"
          rows={4}
          value={text.value}
          placeholder={t("labelHint")}
          aria-label={t("labels")}
          disabled={!meta.value?.searchable}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            clearTimeout(timer);
            timer = window.setTimeout(apply, 500);
          }}
        />
        <button type="submit">{t("apply")}</button>
      </form>
      {labels.value?.counts.map(({ label, count, examples }, code) => (
        <div key={label}>
          <h2>
            <i class="dot" style={{ background: css(categorical(code, dark.value)) }} /> {label}{" "}
            <span class="score">{count.toLocaleString()}</span>
          </h2>
          <Texts items={examples} />
        </div>
      ))}
    </>
  );
}
