import { signal } from "@preact/signals";
import { categorical, css } from "../color";
import { t } from "../i18n";
import { BY_CLUSTER, clusters, colorBy, dark, focusTarget, labels, meta, searches } from "../state";
import { Texts } from "./texts";

const openCluster = signal<number | null>(null);

export function ClustersPanel() {
  const level = clusters.value?.levels[0];
  if (!level) return <p class="quiet">{meta.value?.rows === 0 ? t("noHits") : t("computing")}</p>;
  const isColored = colorBy.value === BY_CLUSTER && !labels.value && !searches.value.some(Boolean);
  return (
    <>
      <p class="quiet">{t("clusterHelp")}</p>
      <ul class="groups">
        {level.clusters.map((cluster) => {
          const isOpen = openCluster.value === cluster.cluster;
          return (
            <li key={cluster.cluster}>
              <button
                type="button"
                aria-expanded={isOpen}
                onClick={() => {
                  openCluster.value = isOpen ? null : cluster.cluster;
                  if (isOpen) return;
                  const indices: number[] = [];
                  clusters.value!.codes.forEach((code, index) => code === cluster.cluster && indices.push(index));
                  focusTarget.value = { indices };
                }}
              >
                {isColored && <i class="dot" style={{ background: css(categorical(cluster.cluster, dark.value)) }} />}
                <b dir="auto">{cluster.name}</b>
                <span class="score">{cluster.size.toLocaleString()}</span>
              </button>
              {isOpen && (
                <div class="inner">
                  <p class="quiet">{cluster.terms.join(" · ")}</p>
                  {Object.entries(cluster.means).map(([column, mean]) => (
                    <p class="quiet" key={column}>
                      {column}: ⌀ {mean.toFixed(2)}
                    </p>
                  ))}
                  <h2>{t("clusterTexts")}</h2>
                  <Texts items={cluster.central} />
                </div>
              )}
            </li>
          );
        })}
      </ul>
    </>
  );
}
