import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type Brief } from "../api";
import { t } from "../i18n";
import { handleErrors, meta } from "../state";
import { Texts } from "./texts";

const groups = signal<Brief[][] | null>(null);

export function DuplicatesPanel() {
  useEffect(() => {
    if (!groups.value && meta.value?.rows) void handleErrors(async () => void (groups.value = await api.duplicates()));
  }, [meta.value]);
  if (!groups.value) return <p class="quiet">{meta.value?.rows === 0 ? t("noHits") : t("computing")}</p>;
  return (
    <>
      <p class="quiet">{groups.value.length ? t("duplicateHelp") : t("noDuplicates")}</p>
      {groups.value.map((group) => (
        <div class="group" key={group[0]!.index}>
          <Texts items={group} />
        </div>
      ))}
    </>
  );
}
