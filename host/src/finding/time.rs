//! Times in milliseconds since the epoch.

/// RFC 3339 text, such as CloudTrail's eventTime, in milliseconds since the epoch. None for anything else.
pub(super) fn milliseconds(time: &str) -> Option<i64> {
    utc(time.as_bytes()).or_else(|| Some(time.parse::<jiff::Timestamp>().ok()?.as_millisecond()))
}

/// The form in which AWS writes times, `2023-07-19T21:35:03Z`. None for any other, and where it takes a calendar to tell.
fn utc(time: &[u8]) -> Option<i64> {
    let [a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n, b'Z'] = *time else { return None };
    let digits = [a, b, c, d, e, f, g, h, i, j, k, l, m, n].map(|digit| i64::from(digit.wrapping_sub(b'0')));
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = digits;
    let (year, month, day) = (1000 * a + 100 * b + 10 * c + d, 10 * e + f, 10 * g + h);
    let (hour, minute, second) = (10 * i + j, 10 * k + l, 10 * m + n);
    let plain = digits.iter().all(|digit| *digit < 10)
        && year > 0
        && (1..=12).contains(&month)
        && (1..=28).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    // Years begin in March, so that the day that is sometimes there is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    plain.then_some((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_time_is_a_time() {
        assert_eq!(milliseconds("2023-07-19T21:35:03Z"), Some(1_689_802_503_000));
        assert_eq!(milliseconds("2023-07-19T23:35:03.5+02:00"), Some(1_689_802_503_500));
        for none in ["...", "", "2023-07-19", "1689802503", "2023-07-19T21:35:03", "2023-13-45T99:99:99Z"] {
            assert_eq!(milliseconds(none), None, "{none}");
        }
    }

    fn check(time: &str) {
        let expect = time.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond());
        assert_eq!(milliseconds(time), expect, "{time}");
    }

    #[test]
    fn every_day_is_the_calendars() {
        for year in [0, 1, 4, 99, 100, 400, 1600, 1900, 1970, 1999, 2000, 2023, 2024, 2100, 9999] {
            for (month, day) in (0..=13).flat_map(|month| (0..=32).map(move |day| (month, day))) {
                check(&format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
            }
        }
    }

    proptest! {
        #[test]
        fn a_time_is_what_the_calendar_says(time in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z") {
            check(&time);
        }

        #[test]
        fn another_character_makes_it_another_time(at in 0_usize..20, other in "[-/:;tz+. a0-9]") {
            let mut time = "2024-02-28T23:59:59Z".to_owned();
            time.replace_range(at..=at, &other);
            check(&time);
        }
    }
}
