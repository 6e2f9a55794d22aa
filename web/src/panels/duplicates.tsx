import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type Brief } from "../api";
import { t } from "../i18n";
import { attempt, meta } from "../state";
import { Texts } from "./texts";

const found = signal<Brief[][] | null>(null);

export function DuplicatesPanel() {
  useEffect(() => {
    if (!found.value && meta.value?.rows) void attempt(async () => void (found.value = await api.duplicates()));
  }, [meta.value]);
  if (!found.value) return <p class="quiet">{meta.value?.rows === 0 ? t("noHits") : t("computing")}</p>;
  return (
    <>
      <p class="quiet">{found.value.length ? t("duplicateHelp") : t("noDuplicates")}</p>
      {found.value.map((group) => (
        <div class="group" key={group[0]!.index}>
          <Texts items={group} />
        </div>
      ))}
    </>
  );
}
