import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type Outlier } from "../api";
import { t } from "../i18n";
import { handleErrors, meta } from "../state";
import { Texts } from "./texts";

const outliers = signal<Outlier[] | null>(null);

export function OutliersPanel() {
  useEffect(() => {
    if (!outliers.value && meta.value?.rows) void handleErrors(async () => void (outliers.value = await api.outliers()));
  }, [meta.value]);
  if (!outliers.value) return <p class="quiet">{meta.value?.rows === 0 ? t("noHits") : t("computing")}</p>;
  const pValues = new Map(outliers.value.map((item) => [item.index, item.p_value]));
  return (
    <>
      <p class="quiet">{t("outlierHelp")}</p>
      <Texts items={outliers.value} formatScore={({ index }) => `p ${pValues.get(index)!.toFixed(3)}`} />
    </>
  );
}
