import type { Column } from "../api";
import { t } from "../i18n";
import { type Filter, filters, meta, need, show } from "../state";

function change(next: Filter): void {
  filters.value = filters.value.map((filter) => (filter.column === next.column ? next : filter));
}

async function add(column: Column): Promise<void> {
  await need(column.name);
  const made: Filter =
    column.kind === "number" || column.kind === "time"
      ? { column: column.name, kind: "range", low: column.low ?? 0, high: column.high ?? 0 }
      : { column: column.name, kind: "category", codes: column.categories.map((_, code) => code) };
  filters.value = [...filters.value, made];
}

function Categories({ column, filter }: { column: Column; filter: Filter & { kind: "category" } }) {
  return (
    <div class="choices">
      {column.categories.map(({ value, count }, code) => (
        <label key={value}>
          <input
            type="checkbox"
            checked={filter.codes.includes(code)}
            onChange={(event) => {
              const others = filter.codes.filter((other) => other !== code);
              change({ ...filter, codes: event.currentTarget.checked ? [...others, code] : others });
            }}
          />
          <span>{value || t("missing")}</span>
          <span class="score">{count.toLocaleString()}</span>
        </label>
      ))}
    </div>
  );
}

function Range({ column, filter }: { column: Column; filter: Filter & { kind: "range" } }) {
  const [low, high] = [column.low ?? 0, column.high ?? 1];
  const step = Number.isInteger(low) && Number.isInteger(high) && high - low < 1e4 ? 1 : (high - low) / 200 || 1;
  const slider = (end: "low" | "high", word: string) => (
    <label>
      <span>
        {word} <b>{show(filter[end], column.kind)}</b>
      </span>
      <input
        type="range"
        min={low}
        max={high}
        step={step}
        value={filter[end]}
        aria-label={`${column.name} ${word}`}
        onInput={(event) => change({ ...filter, [end]: Number(event.currentTarget.value) })}
      />
    </label>
  );
  return (
    <div class="range">
      {slider("low", t("from"))}
      {slider("high", t("to"))}
    </div>
  );
}

export function FiltersPanel() {
  const columns = meta.value?.columns.filter(({ kind }) => kind !== "text") ?? [];
  if (!columns.length) return null;
  const free = columns.filter(({ name }) => !filters.value.some(({ column }) => column === name));
  return (
    <section class="filters" aria-label={t("filter")}>
      <h2>{t("filter")}</h2>
      {filters.value.map((filter) => {
        const column = columns.find(({ name }) => name === filter.column)!;
        return (
          <fieldset key={filter.column}>
            <legend>{filter.column}</legend>
            <button
              type="button"
              class="close"
              aria-label={`${t("removeFilter")}: ${filter.column}`}
              onClick={() => (filters.value = filters.value.filter((other) => other !== filter))}
            >
              ×
            </button>
            {filter.kind === "category" ? (
              <Categories column={column} filter={filter} />
            ) : (
              <Range column={column} filter={filter} />
            )}
          </fieldset>
        );
      })}
      {free.length > 0 && (
        <select
          aria-label={t("addFilter")}
          value=""
          onChange={(event) => {
            const column = free.find(({ name }) => name === event.currentTarget.value);
            if (column) void add(column);
            event.currentTarget.value = "";
          }}
        >
          <option value="">{t("addFilter")}</option>
          {free.map(({ name }) => (
            <option key={name} value={name}>{name}</option>
          ))}
        </select>
      )}
    </section>
  );
}
