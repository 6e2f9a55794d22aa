import { css } from "../colour";
import { painted } from "../state";

export function LegendBox() {
  const { title, items, ramp } = painted.value.legend;
  if (!items.length && !ramp) return null;
  return (
    <div class="legend">
      {title && <p>{title}</p>}
      {ramp && (
        <>
          <div class="ramp" style={{ background: `linear-gradient(90deg, ${ramp.colours.map(css).join(",")})` }} />
          <div class="ends">
            <span>{ramp.low}</span>
            <span>{ramp.high}</span>
          </div>
        </>
      )}
      {items.length > 0 && (
        <ul>
          {items.slice(0, 14).map(({ label, colour }, place) => (
            <li key={place}>
              <i class="dot" style={{ background: css(colour) }} />
              {label}
            </li>
          ))}
          {items.length > 14 && <li>…</li>}
        </ul>
      )}
    </div>
  );
}
