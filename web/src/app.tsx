import { useLayoutEffect } from "preact/hooks";
import { type Key, language, t } from "./i18n";
import { lassoing, lens, Map } from "./map";
import { ClustersPanel } from "./panels/clusters";
import { DetailsPanel } from "./panels/details";
import { DuplicatesPanel } from "./panels/duplicates";
import { FiltersPanel } from "./panels/filters";
import { LabelsPanel } from "./panels/labels";
import { LegendBox } from "./panels/legend";
import { OutliersPanel } from "./panels/outliers";
import { SearchPanel } from "./panels/search";
import { BY_CLUSTER, chooseColor, clusters, colorBy, dark, labels, meta, nShown, offline, problem, row, said, searches, select, selected, shorten, skipped, type View, view, changed } from "./state";

const VIEWS: [View, Key, () => preact.JSX.Element][] = [
  ["search", "search", SearchPanel],
  ["clusters", "clusters", ClustersPanel],
  ["outliers", "outliers", OutliersPanel],
  ["duplicates", "duplicates", DuplicatesPanel],
  ["labels", "labels", LabelsPanel],
];

export function App() {
  useLayoutEffect(() => {
    const keys = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && /^(input|textarea|select)$/i.test(event.target.tagName);
      if (event.key === "/" && !typing) {
        event.preventDefault();
        view.value = "search";
        // Right after the panel is drawn, before the next key: what is typed while a timer waits would be lost.
        queueMicrotask(() => document.getElementById("query")?.focus());
      } else if (event.key === "Escape") {
        if (lassoing.value) lassoing.value = false;
        else if (row.value) row.value = null;
        else if (selected.value.length) void select([]);
      }
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);

  const Panel = VIEWS.find(([name]) => name === view.value)![2];
  return (
    <div class="app">
      <a class="skip" href="#panel">{t("skip")}</a>
      <header>
        <h1>
          <img src="./icon.svg" alt="" width="22" height="22" /> Umekomi
        </h1>
        {meta.value && (
          <p class="about" title={t("notOpenAI")}>
            <b>{meta.value.name}</b>
            <span>
              {nShown.value + meta.value.skipped === meta.value.rows
                ? t("points", { n: meta.value.rows })
                : t("showing", { n: nShown.value, all: meta.value.rows })}{" "}
              · {meta.value.model}
            </span>
          </p>
        )}
        <div class="tools">
          <ColorBy />
          <button type="button" class="icon" aria-label={t("theme")} title={t("theme")} onClick={toggleTheme}>
            {dark.value ? "☀" : "☾"}
          </button>
          <button type="button" aria-label={t("languageName")} onClick={toggleLanguage} lang={language.value === "ja" ? "en" : "ja"}>
            {t("language")}
          </button>
        </div>
      </header>
      <main>
        <Map />
        <div class="controls" role="group">
          <button type="button" class="icon" aria-label={t("zoomIn")} title={t("zoomIn")} onClick={() => lens.by(0.7)}>+</button>
          <button type="button" class="icon" aria-label={t("zoomOut")} title={t("zoomOut")} onClick={() => lens.by(-0.7)}>−</button>
          <button type="button" class="icon" aria-label={t("fit")} title={t("fit")} onClick={lens.all}>⤢</button>
          <button type="button" class="icon" aria-label={t("lasso")} title={t("lassoHelp")} aria-pressed={lassoing.value} onClick={() => (lassoing.value = !lassoing.value)}>
            <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
              <path d="M8 2.5c3.3 0 6 1.8 6 4s-2.7 4-6 4c-1 0-2-.2-2.800-.5M8 2.500c-3.300 0-6 1.800-6 4 0 1.400 1.100 2.600 2.700 3.300m0 0c-1 1.300-.6 2.700.8 3.700" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" />
            </svg>
          </button>
        </div>
        <LegendBox />
        <DetailsPanel />
        {offline.value && <p class="banner" role="alert">{t("offline")}</p>}
        {!meta.value && !offline.value && !problem.value && <p class="banner" role="status">{t("loading")}</p>}
      </main>
      <aside id="panel" tabIndex={-1}>
        <nav aria-label={t("views")} role="tablist">
          {VIEWS.map(([name, key]) => (
            <button type="button" role="tab" key={name} id={`tab-${name}`} aria-selected={view.value === name} aria-controls="view" onClick={() => (view.value = name)}>
              {t(key)}
            </button>
          ))}
        </nav>
        {problem.value && <p class="problem" role="alert">{problem.value}</p>}
        {changed.value && <p class="notice" role="status">{t("changed", { name: meta.value?.name ?? "" })}</p>}
        {meta.value !== null && meta.value.skipped > 0 && (
          <p class="notice" role="status">
            {t("skipped", { n: meta.value.skipped })}{" "}
            <button type="button" class="link" onClick={() => void select(placesOf(skipped.value))}>{t("showSkipped")}</button>
          </p>
        )}
        <section id="view" role="tabpanel" aria-labelledby={`tab-${view.value}`}>
          <Panel />
        </section>
        <FiltersPanel />
        <footer>{t("notOpenAI")}</footer>
      </aside>
      <p class="unseen" role="status" aria-live="polite">{said.value}</p>
    </div>
  );
}

function ColorBy() {
  const columns = meta.value?.columns.filter(({ type }) => type !== "text") ?? [];
  const busy = searches.value.some(Boolean) || labels.value !== null;
  return (
    <label class="color">
      <span>{t("colorBy")}</span>
      <select
        value={busy ? "" : String(columns.findIndex(({ name }) => name === colorBy.value))}
        onChange={(event) => {
          if (event.currentTarget.value) void chooseColor(columns[Number(event.currentTarget.value)]?.name ?? BY_CLUSTER);
        }}
      >
        {busy && <option value="">–</option>}
        <option value="-1">{clusters.value || !meta.value?.rows ? t("byCluster") : t("computing")}</option>
        {columns.map(({ name }, index) => (
          <option key={name} value={index}>{shorten(name)}</option>
        ))}
      </select>
    </label>
  );
}

function placesOf(mask: Uint8Array): number[] {
  return Array.from(mask.keys()).filter((index) => mask[index]);
}

function toggleTheme(): void {
  dark.value = !dark.value;
  localStorage.setItem("umekomi-theme", dark.value ? "dark" : "light");
}

function toggleLanguage(): void {
  language.value = language.value === "ja" ? "en" : "ja";
  localStorage.setItem("umekomi-language", language.value);
}
