//! Reading, comparing and choosing values: numbers, lists of numbers, bracketed choices, CPU masks, port lists.

use crate::check::PortRange;
use crate::profile::Want;

/// A file's content as one comparable value: the choice in brackets, or words separated by single blanks.
pub(crate) fn normal(text: &str) -> String {
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    chosen.map_or_else(|| text.split_whitespace().collect::<Vec<_>>().join(" "), str::to_owned)
}

/// What surroundings a comparison needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings {
    pub cpus: u32,
    pub rtp_ports: PortRange,
    /// The range from which the kernel picks ports itself.
    pub ephemeral: Option<PortRange>,
}

/// The value that `found` should be replaced by; `None` when it is as wanted, an error when it cannot be understood.
pub(crate) fn better(want: &Want, found: &str, around: Surroundings) -> Result<Option<String>, String> {
    let number = |text: &str| -> Result<u64, String> {
        if text == "unlimited" {
            return Ok(u64::MAX);
        }
        text.parse().map_err(|_| format!("{text:?} is not a number"))
    };
    match want {
        Want::AtLeast(least) => Ok((number(found)? < *least).then(|| least.to_string())),
        Want::AtMost(most) => Ok((number(found)? > *most).then(|| most.to_string())),
        Want::EachAtLeast(least) => {
            let parts: Vec<u64> = found.split(' ').map(number).collect::<Result<_, _>>()?;
            if parts.len() != least.len() {
                return Err(format!("{found:?} has {} numbers, expected {}", parts.len(), least.len()));
            }
            let raised: Vec<u64> = parts.iter().zip(least).map(|(part, least)| *part.max(least)).collect();
            Ok((raised != parts).then(|| raised.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")))
        }
        Want::Equals(word) => Ok((found != word).then(|| word.clone())),
        Want::AllCpus => {
            let all = all_cpus(around.cpus);
            Ok((mask_bits(found)? != mask_bits(&all)?).then_some(all))
        }
        Want::SparesRtpPorts => spared(found, around),
    }
}

/// What is wanted, in words.
pub(crate) fn wanted(want: &Want, around: Surroundings) -> String {
    match want {
        Want::AtLeast(least) => format!("at least {least}"),
        Want::AtMost(most) => format!("at most {most}"),
        Want::EachAtLeast(least) => {
            format!("at least {}", least.iter().map(u64::to_string).collect::<Vec<_>>().join(" "))
        }
        Want::Equals(word) => word.clone(),
        Want::AllCpus => format!("{} (all CPUs)", all_cpus(around.cpus)),
        Want::SparesRtpPorts => format!("holds {}", around.rtp_ports),
    }
}

/// A mask with the lowest `cpus` bits set, in the kernel's form: groups of 32 bits joined by commas.
fn all_cpus(cpus: u32) -> String {
    let groups = cpus.div_ceil(32).max(1);
    (0..groups)
        .rev()
        .map(|group| {
            let bits = (cpus - group * 32).min(32);
            let mask = if bits == 32 { u32::MAX } else { (1u32 << bits) - 1 };
            if group + 1 == groups { format!("{mask:x}") } else { format!("{mask:08x}") }
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// The mask's 32-bit groups, lowest first, without zero groups on top.
fn mask_bits(text: &str) -> Result<Vec<u32>, String> {
    let mut groups: Vec<u32> = text
        .split(',')
        .rev()
        .map(|group| u32::from_str_radix(group, 16).map_err(|_| format!("{text:?} is not a CPU mask")))
        .collect::<Result<_, _>>()?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    Ok(groups)
}

/// Reserved ports, with the RTP range added where it overlaps the kernel's own range.
fn spared(found: &str, around: Surroundings) -> Result<Option<String>, String> {
    let rtp = around.rtp_ports;
    let threatened = around.ephemeral.is_none_or(|own| rtp.low <= own.high && own.low <= rtp.high);
    let reserved: Vec<PortRange> =
        found.split(',').filter(|part| !part.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
    let held =
        (rtp.low..=rtp.high).all(|port| reserved.iter().any(|range| range.low <= port && port <= range.high));
    if !threatened || held {
        return Ok(None);
    }
    let mut parts: Vec<String> = reserved.iter().map(ToString::to_string).collect();
    parts.push(rtp.to_string());
    Ok(Some(parts.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings = Surroundings {
        cpus: 2,
        rtp_ports: PortRange { low: 40_000, high: 41_999 },
        ephemeral: Some(PortRange { low: 32_768, high: 60_999 }),
    };

    #[test]
    fn values_are_read_as_the_kernel_writes_them() {
        assert_eq!(normal("always [madvise] never\n"), "madvise");
        assert_eq!(normal("32768\t60999"), "32768 60999");
    }

    #[test]
    fn numbers_are_raised_never_lowered() {
        assert_eq!(better(&Want::AtLeast(100), "99", AROUND), Ok(Some("100".into())));
        assert_eq!(better(&Want::AtLeast(100), "4000", AROUND), Ok(None));
        assert_eq!(better(&Want::AtLeast(100), "unlimited", AROUND), Ok(None));
        assert_eq!(better(&Want::AtMost(10), "60", AROUND), Ok(Some("10".into())));
        let three = Want::EachAtLeast(vec![10, 20, 30]);
        assert_eq!(better(&three, "5 99 5", AROUND), Ok(Some("10 99 30".into())));
        assert!(better(&three, "5 99", AROUND).is_err());
        assert!(better(&Want::AtLeast(1), "many", AROUND).is_err());
    }

    #[test]
    fn masks_name_every_cpu() {
        assert_eq!(all_cpus(2), "3");
        assert_eq!(all_cpus(40), "ff,ffffffff");
        assert_eq!(better(&Want::AllCpus, "00000000,00000003", AROUND), Ok(None));
        assert_eq!(better(&Want::AllCpus, "0", AROUND), Ok(Some("3".into())));
    }

    #[test]
    fn rtp_ports_are_spared_only_where_they_are_threatened() {
        assert_eq!(better(&Want::SparesRtpPorts, "", AROUND), Ok(Some("40000-41999".into())));
        assert_eq!(better(&Want::SparesRtpPorts, "8080", AROUND), Ok(Some("8080,40000-41999".into())));
        assert_eq!(better(&Want::SparesRtpPorts, "39000-50000", AROUND), Ok(None));
        let apart = Surroundings { rtp_ports: PortRange { low: 10_000, high: 19_999 }, ..AROUND };
        assert_eq!(better(&Want::SparesRtpPorts, "", apart), Ok(None));
    }
}
