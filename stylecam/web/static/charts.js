// Small line charts, drawn anew every second.

/** Draw lines of `values` (newest last) over `count` places; `aim` is a dashed level where there is one. */
export function drawCourse(canvas, count, lines, aim) {
  const dots = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  canvas.width = width * dots;
  canvas.height = height * dots;
  const paper = canvas.getContext("2d");
  paper.scale(dots, dots);
  const known = lines.flatMap(({ values }) => values).filter(Number.isFinite);
  const top = Math.max(1, ...known, aim ?? 0) * 1.15;
  const across = (index, length) => width - 3 - ((length - 1 - index) * (width - 6)) / (count - 1);
  const down = (value) => height - 2 - (value / top) * (height - 6);
  drawLevel(paper, width, down(0), "#2c323c", []);
  if (aim) drawLevel(paper, width, down(aim), "#6b7480", [3, 4]);
  for (const { values, colour, fill } of lines) {
    const points = values.map((value, index) => [across(index, values.length), down(value)]);
    drawLine(paper, points.filter(([, y]) => Number.isFinite(y)), colour, fill ? height : 0);
  }
}

function drawLevel(paper, width, y, colour, dash) {
  paper.beginPath();
  paper.setLineDash(dash);
  paper.strokeStyle = colour;
  paper.lineWidth = 1;
  paper.moveTo(0, Math.round(y) + 0.5);
  paper.lineTo(width, Math.round(y) + 0.5);
  paper.stroke();
  paper.setLineDash([]);
}

function drawLine(paper, points, colour, floor) {
  if (!points.length) return;
  paper.beginPath();
  for (const [x, y] of points) paper.lineTo(x, y);
  paper.strokeStyle = colour;
  paper.lineWidth = 1.75;
  paper.lineJoin = "round";
  paper.stroke();
  const [x, y] = points.at(-1);
  if (floor) {
    paper.lineTo(x, floor);
    paper.lineTo(points[0][0], floor);
    paper.fillStyle = `${colour}22`;
    paper.fill();
    paper.beginPath();
    paper.arc(x - 0.5, y, 2.5, 0, 7);
    paper.fillStyle = colour;
    paper.fill();
  }
}
