//! Comfort noise: the payload of RFC 3389, the description of background noise, and noise made from it.
//!
//! Analysis and synthesis follow ITU-T G.711 Appendix II in outline: an all-pole model of tenth order, fed with white noise. The sign of
//! a reflection coefficient is that of the appendix, of G.729 and of other implementations: noise with more low frequencies
//! has a negative first one.

/// The most reflection coefficients that are read or written; RFC 3389 §3 lets a receiver ignore those of higher order.
pub const ORDER_MAX: usize = 12;
/// The most octets of a payload that is written here.
pub const PAYLOAD_MAX: usize = 1 + ORDER_MAX;

/// What a comfort noise payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    /// Level in dB below the overload point, 0 to 127; a square wave of full scale has 0 (RFC 3389 §3.1).
    pub level: u8,
    /// Quantized reflection coefficients, as they stand in the payload; 127 is none.
    reflections: [u8; ORDER_MAX],
    order: u8,
}

impl Noise {
    /// White noise of a level in -dBov.
    pub const fn white(level: u8) -> Self {
        let level = if level > 127 { 127 } else { level };
        Self { level, reflections: [127; ORDER_MAX], order: 0 }
    }

    /// Reads a payload (RFC 3389 §3). An empty one says nothing; coefficients beyond the twelfth are left out.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (&level, coefficients) = payload.split_first()?;
        // The most significant bit is unused; who sets it means the rest all the same.
        let mut noise = Self::white(level & 0x7f);
        let order = coefficients.len().min(ORDER_MAX);
        noise.reflections[..order].copy_from_slice(&coefficients[..order]);
        noise.order = order as u8;
        Some(noise)
    }

    /// Writes the payload; returns its length, or 0 if it does not fit.
    pub fn write(&self, payload: &mut [u8]) -> usize {
        let order = usize::from(self.order);
        let Some(payload) = payload.get_mut(..=order) else { return 0 };
        payload[0] = self.level;
        payload[1..].copy_from_slice(&self.reflections[..order]);
        1 + order
    }

    /// How many reflection coefficients there are.
    pub const fn order(&self) -> usize {
        self.order as usize
    }

    /// A reflection coefficient, between -1 and 1 (RFC 3389 §3.2).
    fn reflection(&self, n: usize) -> f32 {
        // 258 (N - 127) in units of 2^-15; N = 255 would be beyond 1.
        f32::from(258 * (i16::from(self.reflections[n].min(254)) - 127)) / 32_768.0
    }

    /// The root of the mean square in units of a sample.
    fn rms(&self) -> f32 {
        32_767.0 * 10f32.powf(-f32::from(self.level) / 20.0)
    }
}

/// Describes background noise, frame by frame.
#[derive(Clone, Debug)]
pub struct Analyser {
    /// Smoothed autocorrelation, per sample.
    correlation: [f32; ANALYSED + 1],
    empty: bool,
}

/// The order that is written: ITU-T G.711 Appendix II.
const ANALYSED: usize = 10;

impl Default for Analyser {
    fn default() -> Self {
        Self::new()
    }
}

impl Analyser {
    /// An analyser that has heard nothing.
    pub const fn new() -> Self {
        Self { correlation: [0.0; ANALYSED + 1], empty: true }
    }

    /// Takes a frame of background noise; older ones lose weight by half with each.
    pub fn hear(&mut self, frame: &[i16]) {
        if frame.len() <= ANALYSED {
            return;
        }
        for (lag, smoothed) in self.correlation.iter_mut().enumerate() {
            let sum: i64 =
                frame[lag..].iter().zip(frame).map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum();
            let now = sum as f32 / frame.len() as f32;
            *smoothed = if self.empty { now } else { 0.5 * *smoothed + 0.5 * now };
        }
        self.empty = false;
    }

    /// What was heard. Silence has level 127.
    pub fn describe(&self) -> Noise {
        let power = self.correlation[0];
        if power < 1e-3 {
            return Noise::white(127);
        }
        let level = -20.0 * (power.sqrt() / 32_767.0).log10();
        let mut noise = Noise::white(level.round().clamp(0.0, 127.0) as u8);
        noise.order = ANALYSED as u8;
        // Levinson and Durbin, with a little white noise added so that the recursion stays in bounds.
        let mut a = [0.0f32; ANALYSED];
        let mut error = power * 1.0001;
        for n in 0..ANALYSED {
            let predicted: f32 = (0..n).map(|j| a[j] * self.correlation[n - j]).sum();
            let k = (-(self.correlation[n + 1] + predicted) / error).clamp(-0.999, 0.999);
            let previous = a;
            for j in 0..n {
                a[j] += k * previous[n - 1 - j];
            }
            a[n] = k;
            error = (error * (1.0 - k * k)).max(1e-6);
            noise.reflections[n] = (127.0 + (k * 32_768.0 / 258.0).round()).clamp(0.0, 254.0) as u8;
        }
        noise
    }
}

/// Makes noise of a description.
#[derive(Clone, Debug)]
pub struct Generator {
    wanted: Noise,
    /// Reflection coefficients and gain in force, which move towards the wanted ones.
    reflections: [f32; ORDER_MAX],
    rms: f32,
    /// Backward errors of the lattice.
    memory: [f32; ORDER_MAX],
    seed: u32,
    fresh: bool,
}

impl Generator {
    /// A generator that is silent until told what to make; `seed` is what its noise is drawn from.
    pub const fn new(seed: u32) -> Self {
        Self {
            wanted: Noise::white(127),
            reflections: [0.0; ORDER_MAX],
            rms: 0.0,
            memory: [0.0; ORDER_MAX],
            seed,
            fresh: true,
        }
    }

    /// Takes the description of the noise to come. The first is followed at once, a later one smoothly.
    pub const fn set(&mut self, noise: Noise) {
        self.wanted = noise;
    }

    /// Fills a frame.
    pub fn fill(&mut self, frame: &mut [i16]) {
        let step = if self.fresh { 1.0 } else { 0.25 };
        self.fresh = false;
        self.rms += (self.wanted.rms() - self.rms) * step;
        let mut gain = self.rms;
        for n in 0..ORDER_MAX {
            self.reflections[n] += (self.wanted.reflection(n) - self.reflections[n]) * step;
            // What the model adds to the level is taken off what feeds it.
            gain *= (1.0 - self.reflections[n] * self.reflections[n]).max(0.0).sqrt();
        }
        for sample in frame {
            let mut forward = gain * self.white();
            for n in (0..ORDER_MAX).rev() {
                forward -= self.reflections[n] * self.memory[n];
                let backward = self.memory[n] + self.reflections[n] * forward;
                if n + 1 < ORDER_MAX {
                    self.memory[n + 1] = backward;
                }
            }
            self.memory[0] = forward;
            *sample = forward as i16;
        }
    }

    /// White noise of variance 1, of even distribution.
    fn white(&mut self) -> f32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Uniform in -√3..√3.
        self.seed.cast_signed() as f32 * (1.732_050_8 / 2_147_483_648.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(frame: &[i16]) -> f64 {
        let power = frame.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / frame.len() as f64;
        20.0 * (power.sqrt() / 32_767.0).log10()
    }

    #[test]
    fn payloads_are_those_of_rfc_3389() {
        // RFC 3389 §3: level, then coefficients; the first bit means nothing, none is fine, more than twelve are cut.
        assert_eq!(Noise::parse(&[]), None);
        let noise = Noise::parse(&[0x80 | 60]).unwrap();
        assert_eq!((noise.level, noise.order()), (60, 0));
        let noise = Noise::parse(&[50, 127, 254, 0, 255]).unwrap();
        assert_eq!(noise.order(), 4);
        let wanted = [0.0, 258.0 * 127.0 / 32_768.0, -258.0 * 127.0 / 32_768.0, 258.0 * 127.0 / 32_768.0];
        for (n, wanted) in wanted.into_iter().enumerate() {
            assert!((noise.reflection(n) - wanted).abs() < 1e-6);
        }
        let mut payload = [0; PAYLOAD_MAX];
        assert_eq!((noise.write(&mut payload), &payload[..5]), (5, &[50, 127, 254, 0, 255][..]));
        assert_eq!(noise.write(&mut payload[..4]), 0);
        assert_eq!(Noise::parse(&[9; 40]).unwrap().write(&mut payload), PAYLOAD_MAX);
    }

    #[test]
    fn noise_has_its_level_and_colour_again() {
        for (wanted, order) in [(30u8, 0), (45, 3), (60, 3)] {
            let mut payload = [127; 4];
            payload[0] = wanted;
            // Low frequencies prevail: a negative first coefficient.
            payload[1] = 127 - 90;
            payload[2] = 127 + 20;
            let noise = Noise::parse(&payload[..=order]).unwrap();
            let mut generator = Generator::new(7);
            generator.set(noise);
            let mut analyser = Analyser::new();
            let mut frame = [0; 160];
            let mut all = Vec::new();
            for _ in 0..200 {
                generator.fill(&mut frame);
                analyser.hear(&frame);
                all.extend_from_slice(&frame);
            }
            assert!((level(&all) + f64::from(wanted)).abs() < 1.0, "{} for {wanted}", level(&all));
            let mut whole = Analyser::new();
            whole.hear(&all);
            let again = whole.describe();
            assert!(again.level.abs_diff(wanted) <= 1);
            if order > 0 {
                assert!((again.reflection(0) - noise.reflection(0)).abs() < 0.05, "{}", again.reflection(0));
                assert!((again.reflection(1) - noise.reflection(1)).abs() < 0.1);
            } else {
                assert!(again.reflection(0).abs() < 0.05);
            }
        }
    }

    #[test]
    fn silence_and_the_loudest_are_described() {
        let mut analyser = Analyser::new();
        assert_eq!(analyser.describe(), Noise::white(127));
        analyser.hear(&[0; 160]);
        assert_eq!(analyser.describe().level, 127);
        let mut analyser = Analyser::new();
        analyser.hear(&[i16::MIN; 160]);
        assert_eq!(analyser.describe().level, 0);
        let mut generator = Generator::new(0);
        generator.set(analyser.describe());
        generator.fill(&mut [0; 160]);
    }
}
