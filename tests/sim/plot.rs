//! Draws `docs/load.svg`: admitted against offered load, under the default mode of limits.

use std::path::Path;

use plotters::prelude::*;

use crate::options::Options;
use crate::run::Run;
use crate::scenarios::{after, check};
use crate::time::START;
use crate::workload::Operation::Route;
use crate::world::World;

/// Requests a second that the rate allows.
const ALLOWED: f64 = 1_000.0;
/// Pauses between two requests at each of 10 isolates, in milliseconds: from a tenth of the rate to
/// two and a half times the rate.
const PAUSES_MS: [u64; 10] = [100, 50, 25, 17, 14, 12, 10, 8, 6, 4];
/// Milliseconds before the measurement, in which the initial burst is used up, and milliseconds
/// of the measurement.
const WARM_MS: u64 = 6_000;
const MEASURED_MS: u64 = 12_000;

/// One point of the plot, in requests a second.
#[derive(Debug)]
struct Point {
    offered: f64,
    admitted: f64,
}

fn measure(pause_ms: u64) -> Point {
    let options = Options { pause_ms: (pause_ms / 2, pause_ms + pause_ms.div_ceil(2)), ..Options::calm() };
    let run = Run::of_test(the_plot_matches_the_simulation, 7, options);
    let mut world = after(WARM_MS, run, &[Route("/rate")]);
    let before = counts(&world);
    world.run_until(START + WARM_MS + MEASURED_MS);
    let after = counts(&world);
    let per_second = |index: usize| (after[index] - before[index]) * 1_000.0 / MEASURED_MS as f64;
    let [offered, admitted, wrongly_refused] = [0, 1, 2].map(per_second);
    println!("{offered:.0}/s offered, {admitted:.0}/s admitted, {wrongly_refused:.2}/s wrongly refused");
    let ideal = offered.min(ALLOWED);
    // The rest of the initial burst may be admitted on top.
    let is_ideal = admitted >= ideal * 0.99 && admitted <= ideal * 1.05;
    check!(world, is_ideal, "the rate is used to the full", "{admitted} of {ideal}");
    // Beyond the rate some requests must be refused. The check of `admitted` shows that no capacity
    // is lost by that.
    let is_fair = offered > ALLOWED || wrongly_refused <= offered * 0.001;
    check!(world, is_fair, "requests within the rate pass", "{wrongly_refused} of {offered} refused");
    Point { offered, admitted }
}

fn counts(world: &World) -> [f64; 3] {
    let truth = world.truth();
    [truth.offered, truth.rate_units, truth.wrongly_refused].map(|count| count as f64)
}

#[test]
fn the_plot_matches_the_simulation() {
    let points = PAUSES_MS.map(measure);
    let mut svg = String::new();
    draw(&points, &mut svg).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/load.svg");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &svg).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let command = "UPDATE=1 cargo test --no-default-features --test sim the_plot";
    assert!(found == svg, "docs/load.svg is out of date: run `{command}`");
}

fn draw(points: &[Point], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    const MOST: f64 = 2_750.0;
    let area = SVGBackend::with_string(svg, (720, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..MOST, 0.0..1_250.0)?;
    let grid = RGBColor(225, 228, 232);
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(grid)
        .axis_style(RGBColor(90, 96, 104))
        .label_style(("sans-serif", 13))
        .x_desc("offered, requests a second over 10 isolates")
        .y_desc("admitted, requests a second")
        .draw()?;
    let ideal = RGBColor(150, 156, 164);
    chart
        .draw_series(LineSeries::new([(0.0, 0.0), (ALLOWED, ALLOWED), (MOST, ALLOWED)], ideal.stroke_width(2)))?
        .label("what a limit of 1,000 a second allows")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], ideal.stroke_width(2)));
    let leased = RGBColor(20, 110, 180);
    let admitted: Vec<_> = points.iter().map(|point| (point.offered, point.admitted)).collect();
    chart
        .draw_series(LineSeries::new(admitted.clone(), leased.stroke_width(2)))?
        .label("leased: admitted")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], leased.stroke_width(2)));
    chart.draw_series(admitted.iter().map(|point| Circle::new(*point, 4, leased.filled())))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(grid)
        .label_font(("sans-serif", 13))
        .draw()?;
    area.present()?;
    Ok(())
}
