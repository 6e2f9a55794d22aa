import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { clearSearch, meta, search, searches } from "../state";
import { Texts } from "./texts";

const DEBOUNCE_MS = 140;

function SearchBox({ slot, id, hint }: { slot: 0 | 1; id: string; hint: string }) {
  const current = searches.value[slot];
  const [text, setText] = useState(current?.title ?? "");
  const timer = useRef(0);
  const title = current?.title ?? "";
  // "More like this" also starts a search, and another choice of colors clears it.
  const lastTitle = useRef(title);
  useEffect(() => {
    if (lastTitle.current !== title && title !== text.trim()) setText(title);
    lastTitle.current = title;
  }, [title]);
  const update = (value: string) => {
    setText(value);
    clearTimeout(timer.current);
    const query = value.trim();
    if (!query) clearSearch(slot);
    else timer.current = window.setTimeout(() => void search(slot, { query }, query), DEBOUNCE_MS);
  };
  return (
    <div class="box">
      <input
        id={id}
        type="search"
        value={text}
        placeholder={hint}
        aria-label={hint}
        autocomplete="off"
        disabled={!meta.value?.searchable}
        onInput={(event) => update(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && update("")}
      />
    </div>
  );
}

export function SearchPanel() {
  const [isComparing, setComparing] = useState(searches.value[1] !== null);
  const [first, second] = searches.value;
  const problem = meta.value && !meta.value.searchable ? meta.value.search_problem : "";
  return (
    <>
      <SearchBox slot={0} id="query" hint={t("searchHint")} />
      {isComparing && <SearchBox slot={1} id="second" hint={t("compareHint")} />}
      {problem && <p class="quiet">{problem}</p>}
      <button
        type="button"
        class="link"
        onClick={() => {
          if (isComparing) clearSearch(1);
          setComparing(!isComparing);
        }}
      >
        {isComparing ? t("stopCompare") : t("compare")}
      </button>
      {first && (
        <>
          <h2>{second ? t("nearestFirst") : t("nearest")}</h2>
          <Texts items={first.response.hits} />
        </>
      )}
      {second && (
        <>
          <h2>{t("nearestSecond")}</h2>
          <Texts items={second.response.hits} />
        </>
      )}
    </>
  );
}
