import { css } from "../color";
import { painted } from "../state";

export function LegendBox() {
  const { title, items, ramp } = painted.value.legend;
  if (!items.length && !ramp) return null;
  return (
    <div class="legend">
      {title && <p>{title}</p>}
      {ramp && (
        <>
          <div class="ramp" style={{ background: `linear-gradient(90deg, ${ramp.colors.map(css).join(",")})` }} />
          <div class="ends">
            <span>{ramp.low}</span>
            <span>{ramp.high}</span>
          </div>
        </>
      )}
      {items.length > 0 && (
        <ul>
          {items.slice(0, 14).map(({ label, color }, index) => (
            <li key={index}>
              <i class="dot" style={{ background: css(color) }} />
              {label}
            </li>
          ))}
          {items.length > 14 && <li>…</li>}
        </ul>
      )}
    </div>
  );
}
