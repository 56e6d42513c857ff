//! Pictures: what a cycle costs against how much there is, both on scales that double as fast as they grow.

use std::error::Error;
use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::report::Series;

/// A picture of processor time per cycle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture<'a> {
    pub(crate) file: &'static str,
    pub(crate) x: &'static str,
    pub(crate) series: &'a [Series],
}

const FONT: (&str, u32) = ("sans-serif", 14);
const SIZE: (u32, u32) = (720, 420);
const COLOURS: [RGBColor; 3] = [
    RGBColor(200, 80, 40),
    RGBColor(30, 100, 180),
    RGBColor(60, 140, 60),
];

impl Picture<'_> {
    /// Draws it into a file.
    pub(crate) fn draw(&self, directory: &Path) -> io::Result<()> {
        self.try_draw(&directory.join(self.file))
            .map_err(|error| io::Error::other(error.to_string()))
    }

    fn try_draw(&self, file: &Path) -> Result<(), Box<dyn Error + '_>> {
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (xs, ys) = (
            around(points().map(|(x, _)| *x)),
            around(points().map(|(_, y)| *y)),
        );
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(xs.log_scale(), ys.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc("processor time of the server, µs per cycle")
            .x_label_formatter(&plain)
            .y_label_formatter(&plain)
            .label_style(FONT)
            .light_line_style(WHITE)
            .draw()?;
        for (series, colour) in self.series.iter().zip(COLOURS) {
            let points = || series.points.iter().copied();
            chart
                .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
                .label(series.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                });
            chart.draw_series(points().map(|point| Circle::new(point, 4, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .label_font(FONT)
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// A range with room around all of them.
fn around(figures: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let lowest = figures.clone().fold(f64::INFINITY, f64::min);
    let highest = figures.fold(0.0, f64::max);
    if lowest < highest {
        lowest / 1.5..highest * 1.5
    } else {
        0.5..2.0
    }
}

fn plain(number: &f64) -> String {
    if *number < 10.0 {
        format!("{number}")
    } else {
        format!("{number:.0}")
    }
}
