import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { forget, meta, search, searches } from "../state";
import { Texts } from "./texts";

const PAUSE = 140; // milliseconds without a key press

function Box({ which, id, hint }: { which: 0 | 1; id: string; hint: string }) {
  const found = searches.value[which];
  const [text, setText] = useState(found?.title ?? "");
  const timer = useRef(0);
  const title = found?.title ?? "";
  // What is searched may also be set from elsewhere ("more like this"), or be cleared by another way of coloring.
  const last = useRef(title);
  useEffect(() => {
    if (last.current !== title && title !== text.trim()) setText(title);
    last.current = title;
  }, [title]);
  const type = (value: string) => {
    setText(value);
    clearTimeout(timer.current);
    const query = value.trim();
    if (!query) forget(which);
    else timer.current = window.setTimeout(() => void search(which, { query }, query), PAUSE);
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
        onInput={(event) => type(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && type("")}
      />
    </div>
  );
}

export function SearchPanel() {
  const [two, setTwo] = useState(searches.value[1] !== null);
  const [first, second] = searches.value;
  const problem = meta.value && !meta.value.searchable ? meta.value.search_problem : "";
  return (
    <>
      <Box which={0} id="query" hint={t("searchHint")} />
      {two && <Box which={1} id="second" hint={t("compareHint")} />}
      {problem && <p class="quiet">{problem}</p>}
      <button
        type="button"
        class="link"
        onClick={() => {
          if (two) forget(1);
          setTwo(!two);
        }}
      >
        {two ? t("stopCompare") : t("compare")}
      </button>
      {first && (
        <>
          <h2>{second ? t("nearestFirst") : t("nearest")}</h2>
          <Texts items={first.answer.hits} />
        </>
      )}
      {second && (
        <>
          <h2>{t("nearestSecond")}</h2>
          <Texts items={second.answer.hits} />
        </>
      )}
    </>
  );
}
