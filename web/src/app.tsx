import { useLayoutEffect } from "preact/hooks";
import { type Key, language, t } from "./i18n";
import { isLassoActive, MapView, zoom } from "./map";
import { ClustersPanel } from "./panels/clusters";
import { DetailsPanel } from "./panels/details";
import { DuplicatesPanel } from "./panels/duplicates";
import { FiltersPanel } from "./panels/filters";
import { LabelsPanel } from "./panels/labels";
import { LegendBox } from "./panels/legend";
import { OutliersPanel } from "./panels/outliers";
import { SearchPanel } from "./panels/search";
import { announcement, BY_CLUSTER, chooseColor, clusters, colorBy, dark, labels, meta, offline, problem, reloaded, row, searches, select, selected, shorten, skipped, type View, view, visibleCount } from "./state";

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
      const isTyping = event.target instanceof HTMLElement && /^(input|textarea|select)$/i.test(event.target.tagName);
      if (event.key === "/" && !isTyping) {
        event.preventDefault();
        view.value = "search";
        // Not in a timer, because keys that are pressed in the meantime would be lost.
        queueMicrotask(() => document.getElementById("query")?.focus());
      } else if (event.key === "Escape") {
        if (isLassoActive.value) isLassoActive.value = false;
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
              {visibleCount.value + meta.value.skipped === meta.value.rows
                ? t("points", { n: meta.value.rows })
                : t("showing", { n: visibleCount.value, all: meta.value.rows })}{" "}
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
        <MapView />
        <div class="controls" role="group">
          <button type="button" class="icon" aria-label={t("zoomIn")} title={t("zoomIn")} onClick={() => zoom.by(0.7)}>+</button>
          <button type="button" class="icon" aria-label={t("zoomOut")} title={t("zoomOut")} onClick={() => zoom.by(-0.7)}>−</button>
          <button type="button" class="icon" aria-label={t("fit")} title={t("fit")} onClick={zoom.reset}>⤢</button>
          <button type="button" class="icon" aria-label={t("lasso")} title={t("lassoHelp")} aria-pressed={isLassoActive.value} onClick={() => (isLassoActive.value = !isLassoActive.value)}>
            <svg viewBox="0 0 16 16" width="18" height="18" aria-hidden="true">
              <ellipse cx="8" cy="6.5" rx="6" ry="4.25" fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="2.6 2" stroke-linecap="round" />
              <path d="M5 10.2c-1.3 1.3-.9 3 1 4" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" />
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
        {reloaded.value && <p class="notice" role="status">{t("changed", { name: meta.value?.name ?? "" })}</p>}
        {meta.value !== null && meta.value.skipped > 0 && (
          <p class="notice" role="status">
            {t("skipped", { n: meta.value.skipped })}{" "}
            <button type="button" class="link" onClick={() => void select(indicesOf(skipped.value))}>{t("showSkipped")}</button>
          </p>
        )}
        <section id="view" role="tabpanel" aria-labelledby={`tab-${view.value}`}>
          <Panel />
        </section>
        <FiltersPanel />
        <footer>{t("notOpenAI")}</footer>
      </aside>
      <p class="unseen" role="status" aria-live="polite">{announcement.value}</p>
    </div>
  );
}

function ColorBy() {
  const columns = meta.value?.columns.filter(({ type }) => type !== "text") ?? [];
  const isOverridden = searches.value.some(Boolean) || labels.value !== null;
  return (
    <label class="color">
      <span>{t("colorBy")}</span>
      <select
        value={isOverridden ? "" : String(columns.findIndex(({ name }) => name === colorBy.value))}
        onChange={(event) => {
          if (event.currentTarget.value) void chooseColor(columns[Number(event.currentTarget.value)]?.name ?? BY_CLUSTER);
        }}
      >
        {isOverridden && <option value="">–</option>}
        <option value="-1">{clusters.value || !meta.value?.rows ? t("byCluster") : t("computing")}</option>
        {columns.map(({ name }, index) => (
          <option key={name} value={index}>{shorten(name)}</option>
        ))}
      </select>
    </label>
  );
}

function indicesOf(mask: Uint8Array): number[] {
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
