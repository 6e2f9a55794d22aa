import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type Outlier } from "../api";
import { t } from "../i18n";
import { attempt, meta } from "../state";
import { Texts } from "./texts";

const found = signal<Outlier[] | null>(null);

export function OutliersPanel() {
  useEffect(() => {
    if (!found.value && meta.value?.rows) void attempt(async () => void (found.value = await api.outliers()));
  }, [meta.value]);
  if (!found.value) return <p class="quiet">{meta.value?.rows === 0 ? t("noHits") : t("computing")}</p>;
  const p = new globalThis.Map(found.value.map((item) => [item.index, item.p_value]));
  return (
    <>
      <p class="quiet">{t("outlierHelp")}</p>
      <Texts items={found.value} note={({ index }) => `p ${p.get(index)!.toFixed(3)}`} />
    </>
  );
}
