import type { Column } from "../api";
import { t } from "../i18n";
import { countSteps, type Filter, relativePosition, valueAt } from "../filters";
import { filters, formatValue, loadColumn, meta, shorten } from "../state";

function replace(next: Filter): void {
  filters.value = filters.value.map((filter) => (filter.column === next.column ? next : filter));
}

async function add(column: Column): Promise<void> {
  await loadColumn(column.name);
  const filter: Filter =
    column.type === "number" || column.type === "time"
      ? { column: column.name, missing: true, type: "range", low: null, high: null }
      : { column: column.name, missing: true, type: "category", codes: column.categories.map((_, code) => code) };
  filters.value = [...filters.value, filter];
}

/** Option to show rows without a value. They are shown by default. */
function Missing({ column, filter }: { column: Column; filter: Filter }) {
  if (!column.missing) return null;
  return (
    <label>
      <input
        type="checkbox"
        checked={filter.missing}
        onChange={(event) => replace({ ...filter, missing: event.currentTarget.checked })}
      />
      <span>{t("missing")}</span>
      <span class="score">{column.missing.toLocaleString()}</span>
    </label>
  );
}

function Categories({ column, filter }: { column: Column; filter: Filter & { type: "category" } }) {
  return (
    <div class="choices">
      {column.categories.map(({ value, count }, code) => (
        <label key={value}>
          <input
            type="checkbox"
            checked={filter.codes.includes(code)}
            onChange={(event) => {
              const others = filter.codes.filter((other) => other !== code);
              replace({ ...filter, codes: event.currentTarget.checked ? [...others, code] : others });
            }}
          />
          <span dir="auto">{shorten(value) || '""'}</span>
          <span class="score">{count.toLocaleString()}</span>
        </label>
      ))}
      <Missing column={column} filter={filter} />
    </div>
  );
}

function Range({ column, filter }: { column: Column; filter: Filter & { type: "range" } }) {
  const [low, high] = [column.low ?? 0, column.high ?? 0];
  const steps = countSteps(low, high);
  const slider = (end: "low" | "high", label: string) => {
    const value = filter[end] ?? (end === "low" ? low : high);
    const step = filter[end] === null ? (end === "low" ? 0 : steps) : Math.round(relativePosition(value, low, high) * steps);
    return (
      <label>
        <span>
          {label} <b>{formatValue(value, column.type)}</b>
        </span>
        <input
          type="range"
          min={0}
          max={steps}
          step={1}
          value={step}
          aria-label={`${column.name} ${label}`}
          aria-valuetext={formatValue(value, column.type)}
          onInput={(event) => {
            const newStep = Number(event.currentTarget.value);
            // At the opposite end, the filter matches only the outermost value.
            const outermost = end === "low" ? (newStep >= steps ? high : null) : newStep <= 0 ? low : null;
            replace({ ...filter, [end]: outermost ?? valueAt(newStep, low, high) });
          }}
        />
      </label>
    );
  };
  return (
    <div class="range">
      {slider("low", t("from"))}
      {slider("high", t("to"))}
      <div class="choices">
        <Missing column={column} filter={filter} />
      </div>
    </div>
  );
}

export function FiltersPanel() {
  const columns = meta.value?.columns.filter(({ type }) => type !== "text") ?? [];
  if (!columns.length) return null;
  const unusedColumns = columns.filter(({ name }) => !filters.value.some(({ column }) => column === name));
  return (
    <section class="filters" aria-label={t("filter")}>
      <h2>{t("filter")}</h2>
      {filters.value.map((filter) => {
        const column = columns.find(({ name }) => name === filter.column)!;
        return (
          <fieldset key={filter.column}>
            <legend dir="auto">{shorten(filter.column)}</legend>
            <button
              type="button"
              class="close"
              aria-label={`${t("removeFilter")}: ${filter.column}`}
              onClick={() => (filters.value = filters.value.filter((other) => other !== filter))}
            >
              ×
            </button>
            {filter.type === "category" ? (
              <Categories column={column} filter={filter} />
            ) : (
              <Range column={column} filter={filter} />
            )}
          </fieldset>
        );
      })}
      {unusedColumns.length > 0 && (
        <select
          aria-label={t("addFilter")}
          value=""
          onChange={(event) => {
            const column = columns[Number(event.currentTarget.value)];
            if (event.currentTarget.value && column) void add(column);
            event.currentTarget.value = "";
          }}
        >
          <option value="">{t("addFilter")}</option>
          {unusedColumns.map((column) => (
            <option key={column.name} value={columns.indexOf(column)}>{shorten(column.name)}</option>
          ))}
        </select>
      )}
    </section>
  );
}
